# Golden values for tests/test_lineage_switch.py.
# Run from the repository: BALLBOOK_DATA=<mirror> Rscript tests/golden/lineage_switch.R
# TARGET patients are read from the mirror; nothing of a single patient is written.
suppressMessages(library(survival))

month <- 30.4375
folder <- file.path(Sys.getenv("BALLBOOK_DATA"), "clinical", "target-all-p2-cbioportal")
read <- function(name) {
  read.delim(file.path(folder, name), skip = 4, quote = "", stringsAsFactors = FALSE)
}
patients <- read("data_clinical_patient.txt")
samples <- read("data_clinical_sample.txt")
values <- function(column) {
  tapply(samples[[column]], samples$PATIENT_ID, function(x) {
    paste(sort(unique(unlist(strsplit(x[x != ""], ";")))), collapse = "|")
  })[patients$PATIENT_ID]
}
patients$origin <- values("CELL_OF_ORIGIN")
patients$kmt2a <- values("MLL_STATUS")
patients$set <- ifelse(grepl("DISCOVERY", values("ANALYSIS_COHORT")), "discovery", "other")
patients$marrow <- values("BONE_MARROW_SITE_OF_RELAPSE")
b <- patients[patients$origin %in% c("B-Precursor", "B Cell ALL") &
                patients$FIRST_EVENT == "Relapse", ]
b$time <- (b$OS_DAYS - b$DAYS_TO_EVENT) / month
b$dead <- as.integer(startsWith(b$OS_STATUS, "1"))
b$when <- cut(b$DAYS_TO_EVENT / month, c(0, 18, 36, Inf), right = FALSE,
              labels = c("under 18 months", "18 to 36 months", "36 months or later"))
b$stratum <- paste(b$PROTOCOL, b$set)

curve <- function(x) {
  f <- survfit(Surv(time, dead) ~ 1, x, conf.type = "log-log")
  t <- summary(f, rmean = 24)$table
  # quantile() and print() differ where a curve ends exactly at one half: the book takes quantile().
  median <- quantile(f, 0.5)
  at <- summary(f, times = c(4.8, 12, 24), extend = TRUE)
  list(n = nrow(x), events = sum(x$dead), median = unname(median$quantile),
       low = unname(median$lower), high = unname(median$upper), rmean24 = unname(t["rmean"]),
       rmean24_se = unname(t["se(rmean)"]), at = at$surv, at_low = at$lower, at_high = at$upper,
       at_risk = at$n.risk)
}
test <- function(f, x, groups) {
  s <- survdiff(f, x)
  list(chisq = s$chisq, p = pchisq(s$chisq, groups - 1, lower.tail = FALSE))
}
early <- b[b$when == "under 18 months", ]
known <- b[b$kmt2a %in% c("Positive", "Negative"), ]
weibull <- function(x) {
  s <- survreg(Surv(time, dead) ~ 1, x[x$time > 0, ], dist = "weibull")
  k <- 1 / s$scale
  list(median = unname(exp(coef(s)) * log(2)^s$scale), shape = k,
       shape_low = exp(log(k) - qnorm(0.975) * sqrt(s$var[2, 2])),
       shape_high = exp(log(k) + qnorm(0.975) * sqrt(s$var[2, 2])), loglik = s$loglik[1])
}

# Exact interval of the true median given the sample median 4.8, odd n: Beta quantiles.
# Even n: integrate over the lower middle order statistic (an independent coding in R).
ratio <- function(n, k, p) {
  r <- (n + 1) %/% 2
  q <- function(u) (-log2(1 - u))^(1 / k)
  if (n %% 2) return(q(qbeta(p, r, n - r + 1)))
  cdf <- function(x) {
    integrate(function(u) dbeta(u, r, n - r + 1) *
                (1 - (2^(-(2 * x - q(u))^k) / (1 - u))^(n - r)),
              0, 1 - 2^(-x^k), rel.tol = 1e-10)$value
  }
  uniroot(function(x) cdf(x) - p, c(0.2, 4), tol = 1e-12)$root
}
intervals <- list()
for (n in c(70, 75)) for (k in c(0.6, 1, 1.5)) {
  intervals[[length(intervals) + 1]] <-
    list(n = n, shape = k, low = 4.8 / ratio(n, k, 0.975), high = 4.8 / ratio(n, k, 0.025))
}
patients_needed <- function(within, k) {
  S <- function(t) 2^(-(pmax(t, 0) / 4.8)^k)
  n <- 1
  while (pbinom((n - 1) / 2, n, 1 - S(4.8 + within), lower.tail = FALSE) -
         pbinom((n - 1) / 2, n, 1 - S(4.8 - within), lower.tail = FALSE) < 0.95) n <- n + 2
  n
}
exact <- function(k, n) {
  ci <- binom.test(k, n)$conf.int
  list(k = k, n = n, low = ci[1], high = ci[2])
}

out <- list(
  versions = list(R = R.version.string, survival = as.character(packageVersion("survival"))),
  counts = lapply(list(c(45, 70), c(57, 70), c(4, 70), c(27, 70), c(53, 75), c(17, 75), c(5, 75)),
                  function(x) exact(x[1], x[2])),
  all = curve(b),
  by_time = lapply(split(b, b$when), curve),
  by_kmt2a = lapply(split(known, known$kmt2a), curve),
  by_protocol = lapply(split(b, b$PROTOCOL), curve),
  early_by_stratum = lapply(split(early, early$stratum), curve),
  without_discovery = curve(b[b$set == "other", ]),
  marrow = curve(b[b$marrow == "Yes", ]),
  logrank_time = test(Surv(time, dead) ~ when, b, 3),
  logrank_time_stratified =
    test(Surv(time, dead) ~ when + strata(stratum), b, 3),
  logrank_kmt2a = test(Surv(time, dead) ~ kmt2a, known, 2),
  logrank_kmt2a_stratified =
    test(Surv(time, dead) ~ kmt2a + strata(stratum), known, 2),
  zph_time = cox.zph(coxph(Surv(time, dead) ~ when + strata(stratum), b))$table["GLOBAL", "p"],
  early_minus_later_24 = curve(early)$rmean24 - curve(b[b$when != "under 18 months", ])$rmean24,
  deaths_needed = ceiling(4 * sum(qnorm(c(0.975, 0.8)))^2 / log(4.8 / c(7.2, 9.6, 14.4))^2),
  weibull = list(all = weibull(b), early = weibull(early)),
  intervals = intervals,
  patients = lapply(list(c(1, 1), c(2, 1), c(1, 0.6), c(1, 1.5)), function(x)
    list(within = x[1], shape = x[2], n = patients_needed(x[1], x[2])))
)
write_json <- function(x) {
  if (is.list(x)) {
    inner <- vapply(x, write_json, "")
    if (is.null(names(x))) paste0("[", paste(inner, collapse = ", "), "]")
    else paste0("{", paste0('"', names(x), '": ', inner, collapse = ", "), "}")
  } else if (is.character(x)) paste0('"', x, '"')
  else {
    v <- ifelse(is.na(x), "null", formatC(x, digits = 15, format = "g"))
    if (length(v) == 1) v else paste0("[", paste(v, collapse = ", "), "]")
  }
}
json <- write_json(out)
path <- file.path("tests", "golden", "lineage_switch.json")
writeLines(json, path)
