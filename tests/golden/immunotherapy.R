# Golden values for tests/test_overfitting.py, tests/test_white_count.py and
# tests/test_immunotherapy_risk.py. Run from the repository: Rscript tests/golden/immunotherapy.R
# All data are drawn here and written into the JSON.
suppressMessages({library(survival); library(cmprsk); library(maxstat)})
options(digits = 17)
set.seed(70)

# Small trials: every factor alone and all together.
trial <- function() {
  n <- 76
  x <- cbind(a = rbinom(n, 1, 0.25), b = rbinom(n, 1, 0.4), c = rbinom(n, 1, 0.3))
  time <- round(rexp(n, 0.01 * exp(x[, "a"])), 6)
  event <- as.integer(time <= sort(time)[10])
  cut <- runif(n, 10, 48)
  time <- ifelse(event == 1, time, pmax(time, sort(time)[10] + cut))
  d <- data.frame(time, event, x)
  alone <- lapply(c("a", "b", "c"), function(v) {
    f <- coxph(reformulate(v, "Surv(time, event)"), d)
    list(coef = unname(coef(f)), se = sqrt(vcov(f)[1, 1]), score = unname(f$score))
  })
  f <- coxph(Surv(time, event) ~ a + b + c, d)
  list(time = time, event = event, x = unname(x), alone = alone, coef = unname(coef(f)),
       se = unname(sqrt(diag(vcov(f)))))
}
trials <- replicate(4, trial(), simplify = FALSE)

# Maximally selected statistics.
z <- c(2.5, 3.0, 3.290527, 4.0)
cutoffs <- lapply(c(0.05, 0.1, 0.25), function(e)
  list(inner = e, p = 2 * pnorm(-z), adjusted = sapply(z, pLausen92, minprop = e, maxprop = 1 - e)))

# Wald intervals.
printed <- list(c("8.86", "2.33", "33.70"), c("6.87", "1.54", "30.68"), c("4.06", "1.05", "15.76"))
wald <- lapply(printed, function(v) {
  w <- as.numeric(v)
  se <- log(w[3] / w[2]) / (2 * qnorm(0.975))
  list(printed = v, se = se, p = 2 * pnorm(-abs(log(w[1])) / se), middle = exp(mean(log(w[2:3]))))
})

# A cohort with relapse, death and censoring.
n <- 260
wbc <- round(exp(rnorm(n, log(20), 1.4)), 1)
age <- round(runif(n, 20, 80), 1)
cns <- rbinom(n, 1, 0.2)
relapse <- rexp(n, 0.006 * exp(0.45 * (log2(wbc) - 4) + 0.4 * cns))
death <- rexp(n, 0.003 * exp(0.02 * (age - 50)))
end <- runif(n, 12, 72)
time <- round(pmin(relapse, death, end), 3) + 0.001
cause <- ifelse(relapse <= pmin(death, end), 1L, ifelse(death <= end, 2L, 0L))
high <- as.integer(wbc >= 70)
fg <- function(x) {
  f <- crr(time, cause, x, failcode = 1)
  list(value = unname(exp(f$coef[1])), low = exp(f$coef[[1]] - qnorm(0.975) * sqrt(f$var[1, 1])),
       high = exp(f$coef[[1]] + qnorm(0.975) * sqrt(f$var[1, 1])))
}
cs <- function(x) {
  s <- summary(coxph(Surv(time, cause == 1) ~ x))$conf.int
  list(value = s[1, 1], low = s[1, 3], high = s[1, 4])
}
ci <- cuminc(time, cause, high)
at <- timepoints(ci, 36)
low_high <- function(g) {
  f <- at$est[paste(g, 1), 1]
  s <- sqrt(at$var[paste(g, 1), 1])
  spread <- qnorm(0.975) * s / (f * log(f))
  list(value = f, low = f^exp(-spread), high = f^exp(spread))
}
zph <- cox.zph(coxph(Surv(time, cause == 1) ~ high), transform = "km", terms = FALSE)
cohort <- list(
  wbc = wbc, age = age, cns = cns, time = time, cause = cause,
  "cir-high" = low_high(1), "cir-low" = low_high(0), gray = unname(ci$Tests[1, "pv"]),
  shr = fg(cbind(high)), "shr-doubling" = fg(cbind(log2(wbc))),
  "shr-adjusted" = fg(cbind(high, age / 10, cns)), chr = cs(high), "chr-doubling" = cs(log2(wbc)),
  zph = zph$table[1, "p"]
)
versions <- sapply(c("survival", "cmprsk", "maxstat"), function(p) as.character(packageVersion(p)))
out <- list(R = R.version.string, packages = as.list(versions), trials = trials,
            cutoffs = cutoffs, wald = wald, cohort = cohort)
writeLines(jsonlite::toJSON(out, auto_unbox = TRUE, digits = NA, pretty = FALSE),
           "tests/golden/immunotherapy.json")
