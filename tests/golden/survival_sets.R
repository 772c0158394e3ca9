# Data sets of the survival goldens; tests/survival_sets.py holds the same ones. Published sets come
# from the mirror named by BALLBOOK_DATA and are not written out; hard cases are, in survival_sets.json.
suppressMessages(library(survival))
source("tests/golden/golden.R")
mirror <- function(...) read.csv(file.path(Sys.getenv("BALLBOOK_DATA"), "clinical", ...))

sets <- list(
  "6-MP" = function() {
    treated <- c(6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35)
    seen <- c(1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0)
    placebo <- c(1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)
    data.frame(time = c(treated, placebo), event = c(seen, rep(1, 21)),
               group = rep(c("6-MP", "placebo"), each = 21), stratum = rep(1:3, 14),
               placebo = rep(0:1, each = 21))
  },
  "KMsurv bmt" = function() {
    d <- mirror("hsct-textbook-sets", "kmsurv_bmt.csv")
    data.frame(time = d$t2, event = d$d3, group = d$group, stratum = d$z9, g2 = 1 * (d$group == 2),
               g3 = 1 * (d$group == 3), z1 = d$z1, z2 = d$z2, z8 = d$z8, z10 = d$z10)
  },
  "KMsurv bmt after platelets" = function() {
    d <- mirror("hsct-textbook-sets", "kmsurv_bmt.csv")
    d <- d[d$tp < d$t2, ]
    data.frame(time = d$t2, event = d$d3, entry = d$tp, group = d$group, stratum = d$z10,
               g2 = 1 * (d$group == 2), z1 = d$z1, z8 = d$z8)
  },
  "Kersey" = function() {
    d <- mirror("hsct-textbook-sets", "smcure_bmt_kersey1987_refractory_all.csv")
    data.frame(time = d$Time, event = d$Status, group = d$TRT, stratum = seq_len(nrow(d)) %% 2,
               autologous = d$TRT)
  },
  "EBMT" = function() {
    d <- mirror("ebmt-mstate", "ebmt4.csv")
    data.frame(time = pmin(d$rel, d$srv), event = 1 * (d$rel.s == 1 | d$srv.s == 1),
               cause = ifelse(d$rel.s == 1, 1, 2 * d$srv.s), group = d$agecl, stratum = d$year,
               middle = 1 * (d$agecl == "20-40"), old = 1 * (d$agecl == ">40"),
               prophylaxis = 1 * (d$proph == "yes"),
               mismatch = 1 * (d$match == "gender mismatch"))
  },
  "EBMT after recovery" = function() {
    d <- mirror("ebmt-mstate", "ebmt4.csv")
    d$end <- pmin(d$rel, d$srv)
    d <- d[d$rec.s == 1 & d$rec < d$end, ]
    data.frame(time = d$end, event = 1 * (d$rel.s == 1 | d$srv.s == 1), entry = d$rec,
               group = d$agecl, stratum = d$year, middle = 1 * (d$agecl == "20-40"),
               old = 1 * (d$agecl == ">40"), mismatch = 1 * (d$match == "gender mismatch"))
  },
  "bmtcrr" = function() {
    d <- mirror("hsct-textbook-sets", "casebase_bmtcrr_all_aml.csv")
    data.frame(time = d$ftime, event = 1 * (d$Status > 0), cause = d$Status, group = d$D,
               phase = d$Phase, stratum = d$Source, age = d$Age, aml = 1 * (d$D == "AML"),
               relapse = 1 * (d$Phase == "Relapse"), blood = 1 * (d$Source == "PB"))
  },
  "Rossi" = function() {
    d <- read.csv(Sys.glob(".venv/lib/python*/site-packages/lifelines/datasets/rossi.csv")[1])
    data.frame(time = d$week, event = d$arrest, group = d$fin, stratum = d$race,
               d[c("fin", "age", "race", "wexp", "mar", "paro", "prio")])
  }
)

# Hard cases, small enough to be written out.
set.seed(20260219)
n <- 60
ties <- data.frame(time = ceiling(6 * rexp(n)), event = rbinom(n, 1, .7), group = rep(c("a", "b", "c"), 20),
                   stratum = rep(1:2, each = 30), x = rep(0:1, 30), w = round(rnorm(n), 2))
late <- data.frame(entry = round(runif(40, 0, 4), 1), event = rbinom(40, 1, .6), group = rep(c("a", "b"), 20),
                   stratum = rep(1:2, each = 20), x = rep(0:1, 20), w = round(rnorm(40), 2))
late$time <- late$entry + round(5 * rexp(40), 1) + .1
late$entry[1:12] <- 0
hard <- list(
  "heavy ties" = ties,
  "late entry" = late,
  "one event" = transform(ties[1:12, ], event = c(0, 0, 0, 1, rep(0, 8))),
  "all censored" = transform(ties[1:12, ], event = 0),
  "no event in a group" = transform(ties, event = ifelse(group == "b", 0, event)),
  "events at time 0" = transform(ties, time = ifelse(time < 3, 0, time)),
  "nearly equal times" = transform(ties, time = time / 10 + ifelse(x == 1, 1e-12, 0))
)
hard[["separated"]] <- transform(hard[["no event in a group"]], b = 1 * (group == "b"))
# Competing risks.
causes <- transform(ties, cause = ifelse(event == 0, 0, rep(c(1, 2, 1, 3, 2), 12)))
hard[["three causes, heavy ties"]] <- causes
hard[["nobody censored"]] <- transform(causes, cause = ifelse(cause == 0, 1, cause), event = 1)
hard[["one event of the cause"]] <- transform(causes[1:12, ], cause = c(0, 0, 0, 1, 2, 0, 2, 0, 2, 2, 0, 2))
hard[["no event of the cause in a group"]] <- transform(causes, cause = ifelse(group == "b" & cause == 1, 2, cause))
writeLines(toJSON(hard, dataframe = "columns", digits = NA), "tests/golden/survival_sets.json")
