# Golden values for tests/test_ikzf1plus_outcome.py and tests/test_cna_landscape.py.
# Run from the repository: Rscript tests/golden/ikzf1plus.R
# Reads data/published only; the survival set is drawn here and written into the JSON.
suppressMessages({library(survival); library(metafor); library(lme4)})
options(digits = 17)

# Co-occurrence: exact common odds ratios.
tables <- list(
  one = list(c(5, 3, 4, 20)),
  three = list(c(1, 7, 3, 11), c(3, 5, 8, 14), c(3, 1, 4, 12)),
  end = list(c(4, 0, 2, 9), c(3, 0, 1, 6)),
  zero = list(c(0, 5, 6, 9), c(0, 3, 4, 7))
)
exact <- lapply(tables, function(ts) {
  x <- array(unlist(lapply(ts, function(t) c(t[1], t[3], t[2], t[4]))), c(2, 2, length(ts)))
  r <- if (length(ts) == 1) fisher.test(x[, , 1]) else mantelhaen.test(x, exact = TRUE)
  inf <- function(v) if (is.infinite(v)) NULL else v
  list(tables = ts, value = inf(unname(r$estimate)), low = r$conf.int[1], high = inf(r$conf.int[2]),
       p = r$p.value)
})

# Three printed groups.
arms <- read.csv("data/published/ikzf1_arms.csv", colClasses = c(p_printed = "character"))
arms <- arms[arms$endpoint == "DFS" & arms$study %in% c("d-alba", "fbmtg", "argentina"), ]
g <- function(s) log(-log(s))
one <- function(study, a, b) {
  x <- arms[arms$study == study, ]
  x <- x[match(c(a, b), x$arm), ]
  s <- x$estimate_pct / 100
  se <- ifelse(is.na(x$se_pct), sqrt(s * (1 - s) / x$n), x$se_pct / 100) / (s * -log(s))
  c(g(s[1]) - g(s[2]), sqrt(sum(se^2)))
}
contrasts <- list("plus-alone" = c("plus", "del-only"), "alone-wt" = c("del-only", "wt"),
                  "plus-wt" = c("plus", "wt"))
pools <- lapply(contrasts, function(p) {
  y <- sapply(unique(arms$study), function(s) one(s, p[1], p[2]))
  kh <- rma(yi = y[1, ], sei = y[2, ], method = "REML", test = "knha")
  zt <- rma(yi = y[1, ], sei = y[2, ], method = "REML")
  wide <- if (kh$ci.ub - kh$ci.lb > zt$ci.ub - zt$ci.lb) kh else zt
  list(log = as.list(y[1, ]), se = as.list(y[2, ]), value = exp(c(wide$b)), low = exp(wide$ci.lb),
       high = exp(wide$ci.ub), k = wide$k)
})

# Shares of IKZF1 loss in Ph-positive ALL.
counts <- read.csv("data/published/cna_counts.csv")
share <- function(keep) {
  d <- counts[counts$gene == "ikzf1" & counts$role == "in" & keep, ]
  fit <- glmer(cbind(k, n - k) ~ 1 + (1 | study), data = d, family = binomial, nAGQ = 21)
  list(value = plogis(unname(fixef(fit))), tau2 = unname(VarCorr(fit)$study[1]), k = nrow(d),
       events = sum(d$k), total = sum(d$n))
}
shares <- list(ph = share(counts$ph == "positive"), any = share(counts$ph == "any"))

# A cohort in three groups.
set.seed(11)
n <- 240
group <- rep(c("wild", "alone", "plus"), c(160, 50, 30))
rate <- c(wild = 0.006, alone = 0.011, plus = 0.03)[group]
mrd <- rbinom(n, 1, ifelse(group == "plus", 0.5, 0.3))
time <- round(rexp(n, rate * exp(0.7 * mrd)), 2)
event <- as.integer(time < 60)
time <- pmin(time, 60)
is <- data.frame(time, event, mrd, alone = as.integer(group == "alone"),
                 wild = as.integer(group == "wild"), plus = as.integer(group == "plus"))
row <- function(fit, term) {
  s <- summary(fit, conf.int = 0.95)$conf.int[term, ]
  unname(s[c(1, 3, 4)])
}
from_wild <- coxph(Surv(time, event) ~ alone + plus, is)
from_alone <- coxph(Surv(time, event) ~ wild + plus, is)
by_mrd <- coxph(Surv(time, event) ~ plus * mrd, is)
flipped <- coxph(Surv(time, event) ~ plus * I(1 - mrd), is)
test <- survdiff(Surv(time, event) ~ group)
cohort <- list(
  data = list(group = group, mrd = mrd, time = time, event = event),
  "plus-alone" = row(from_alone, "plus"), "alone-wt" = row(from_wild, "alone"),
  "plus-wt" = row(from_wild, "plus"), logrank = unname(test$chisq),
  "mrd-negative" = row(by_mrd, "plus"), "mrd-positive" = row(flipped, "plus"),
  ratio = row(by_mrd, "plus:mrd")
)

versions <- sapply(c("survival", "metafor", "lme4"), function(p) as.character(packageVersion(p)))
out <- list(r = R.version.string, packages = as.list(versions), exact = exact, pools = pools,
            shares = shares, cohort = cohort)
writeLines(jsonlite::toJSON(out, auto_unbox = TRUE, digits = NA, pretty = TRUE, null = "null"),
           "tests/golden/ikzf1plus.json")
