# Golden values for tests/test_ikzf1_outcome.py.
# Run from the repository: BALLBOOK_DATA=<mirror> Rscript tests/golden/ikzf1_outcome.R
# Printed arms are read from data/published; TARGET and DFCI from the mirror. Nothing of a single
# patient is written.
suppressMessages({library(survival); library(metafor)})

g <- function(s) log(-log(s))
z <- qnorm(0.975)
arms <- read.csv("data/published/ikzf1_arms.csv", colClasses = c(p_printed = "character"))
merged <- function(a) {
  if (nrow(a) == 1) return(a)
  w <- a$n / sum(a$n)
  out <- a[1, ]
  out$n <- sum(a$n)
  out$estimate_pct <- sum(w * a$estimate_pct)
  out$se_pct <- sqrt(sum((w * a$se_pct)^2))
  out$ci_low_pct <- out$ci_high_pct <- NA
  out
}
effect <- function(study, endpoint) {
  t <- arms[arms$study == study & arms$endpoint == endpoint, ]
  d <- merged(t[t$arm != "wt", ])
  w <- t[t$arm == "wt", ]
  x <- rbind(d, w)
  s <- x$estimate_pct / 100
  lo <- x$ci_low_pct / 100
  hi <- x$ci_high_pct / 100
  if (endpoint == "CIR") { s <- 1 - s; swap <- lo; lo <- 1 - hi; hi <- 1 - swap }
  y <- g(s[1]) - g(s[2])
  exact <- suppressWarnings(as.numeric(w$p_printed))
  if (all(!is.na(x$se_pct))) {
    v <- (x$se_pct / 100 / (s * log(s)))^2
  } else if (all(!is.na(lo))) {
    v <- ((g(lo) - g(hi)) / (2 * z))^2
  } else if (!is.na(exact) && d$arm == "del") {
    v <- (y / qnorm(1 - exact / 2))^2
  } else {
    v <- (1 - s) / (s * x$n * log(s)^2)
  }
  c(y = y, se = sqrt(sum(v)))
}
# The wider of the normal and the Hartung-Knapp interval; prediction with t on k - 2 df.
pool <- function(e) {
  fits <- lapply(c("z", "knha"), function(test) {
    rma.uni(e[, "y"], sei = e[, "se"], method = "REML", test = test,
            control = list(threshold = 1e-13, maxiter = 10000))
  })
  r <- fits[[which.max(sapply(fits, function(f) f$ci.ub - f$ci.lb))]]
  k <- nrow(e)
  out <- list(value = exp(r$b[1]), low = exp(r$ci.lb), high = exp(r$ci.ub), tau2 = r$tau2,
              q_p = r$QEp, test = r$test, k = k)
  if (k < 3) return(out)
  reach <- qt(0.975, k - 2) * sqrt(r$tau2 + max(sapply(fits, function(f) f$se))^2)
  c(out, list(prediction_low = exp(r$b[1] - reach), prediction_high = exp(r$b[1] + reach)))
}
pools <- list()
for (endpoint in c("EFS", "DFS", "OS", "CIR")) {
  studies <- unique(arms$study[arms$endpoint == endpoint & arms$role == "in"])
  e <- t(sapply(studies, effect, endpoint = endpoint))
  # GIMEMA prints medians (10 and 32 months) and P = .02.
  if (endpoint == "DFS") e <- rbind(e, gimema = c(log(32 / 10), log(32 / 10) / qnorm(0.99)))
  pools[[endpoint]] <- pool(e)
  if (endpoint == "EFS") {
    nulls <- rbind(e, c(0, sqrt(1 / 114 + 1 / 384)), c(0, sqrt(1 / 36 + 1 / 23)))
    pools$EFS_with_nulls <- pool(nulls)
  }
  if (endpoint == "DFS") {
    pools$ph_children <- pool(e[c("pre-tki", "esphall"), ])
    pools$ph_adults <- pool(e[c("d-alba", "fbmtg"), ])
  }
}

folder <- file.path(Sys.getenv("BALLBOOK_DATA"), "clinical", "target-all-p2-cbioportal")
read <- function(name) read.delim(file.path(folder, name), skip = 4, quote = "")
p <- read("data_clinical_patient.txt")
s <- read("data_clinical_sample.txt")
of <- function(column) tapply(s[[column]], s$PATIENT_ID, function(x) {
  paste(sort(unique(unlist(strsplit(x[x != ""], ";")))), collapse = "|")
})[p$PATIENT_ID]
p$b <- of("CELL_OF_ORIGIN") %in% c("B-Precursor", "B Cell ALL")
p$ph <- c(Positive = 1L, Negative = 0L)[of("BCR_ABL1_STATUS")]
p$set <- of("ANALYSIS_COHORT")
p$set[!p$set %in% c("DISCOVERY", "VALIDATION")] <- "several"
p$event <- as.integer(!p$FIRST_EVENT %in% c("", "Censored", "None"))
k <- subset(p, PROTOCOL == "AALL0232" & b & KARYOTYPE != "" & !is.na(DAYS_TO_EVENT))
has <- function(rule) grepl(rule, k$KARYOTYPE, perl = TRUE)
k$m7 <- has("(^|[,/\\[\\]\\s])-7(?=[,/\\[\\]\\s]|$)")
k$loss <- as.integer(k$m7 | has("del\\(7\\)\\(p") | has("i\\(7\\)\\(q10\\)") | has("idic\\(7\\)\\(p") |
                       has("dic\\(7;\\d+\\)\\(p"))
k$months <- k$DAYS_TO_EVENT / (365.25 / 12)
k$log_mrd <- log10(pmax(k$MRD_PERCENT_DAY_29 / 100, 1e-5))
k$wbc_50 <- as.integer(k$WBC >= 50)
k$age_10 <- as.integer(k$AGE_IN_DAYS / 365.25 >= 10)
k$file_age_10 <- as.integer(k$AGE >= 10)
ratio <- function(formula, data = k) {
  c <- summary(coxph(formula, data))
  list(value = c$conf.int[1, 1], low = c$conf.int[1, 3], high = c$conf.int[1, 4],
       p = c$coefficients[1, 5], n = c$n, events = c$nevent)
}
at <- summary(survfit(Surv(months, event) ~ loss, k, conf.type = "log-log"), times = 60)
zph <- function(formula) cox.zph(coxph(formula, k))$table[, "p"]
adjusted <- Surv(months, event) ~ loss + log_mrd + wbc_50 + age_10 + ph
decides <- Surv(months, event) ~ loss + log_mrd + wbc_50 + strata(ph, age_10)
target <- list(
  n = nrow(k), n_loss = sum(k$loss), efs5 = at$surv, efs5_low = at$lower, efs5_high = at$upper,
  logrank_p = pchisq(survdiff(Surv(months, event) ~ loss, k)$chisq, 1, lower.tail = FALSE),
  crude = ratio(Surv(months, event) ~ loss),
  sampling = ratio(Surv(months, event) ~ loss + strata(set)),
  adjusted = ratio(adjusted),
  file_age = ratio(Surv(months, event) ~ loss + log_mrd + wbc_50 + file_age_10 + ph),
  strata = ratio(decides),
  all_strata = ratio(Surv(months, event) ~ loss + log_mrd + wbc_50 + strata(ph, age_10, set)),
  day_29 = ratio(decides, subset(k, DAYS_TO_EVENT > 29)),
  zph_crude = unname(zph(Surv(months, event) ~ loss)[1]),
  zph_adjusted_min = min(zph(adjusted)), zph_strata_min = min(zph(decides))
)

d <- read.csv(file.path(Sys.getenv("BALLBOOK_DATA"), "omics", "paediatric-all-deg-logcpm",
                        "gse181157_clinical_173.csv"), check.names = FALSE)
d <- d[grepl("Pre-B", d$Diagnosis) & d$`TP1 MRD` %in% c("Low", "High"), ]
deleted <- factor(d$`IKZF1 deletion`, c("Positive", "Negative"))
high <- factor(d$`TP1 MRD`, c("High", "Low"))
kinase <- factor(d$`Predicted subtype by RNA-seq` == "BCR-ABL1_or_like")
exact <- function(t) {
  f <- fisher.test(t)
  list(value = unname(f$estimate), low = f$conf.int[1], high = f$conf.int[2], p = f$p.value)
}
mh <- mantelhaen.test(table(deleted, high, kinase), correct = FALSE)
counts <- list(
  dfci = exact(table(deleted, high)), dfci_cells = as.vector(t(table(deleted, high))),
  dfci_within = list(value = unname(mh$estimate), low = mh$conf.int[1], high = mh$conf.int[2]),
  ccri = exact(rbind(c(8, 2), c(14, 28))), ccri_sequenced = exact(rbind(c(8, 2), c(14, 17)))
)

out <- list(
  versions = list(R = R.version.string, survival = as.character(packageVersion("survival")),
                  metafor = as.character(packageVersion("metafor"))),
  pools = pools, target = target, counts = counts
)
jsonlite::write_json(out, "tests/golden/ikzf1_outcome.json", auto_unbox = TRUE, digits = 12,
                     pretty = TRUE)
