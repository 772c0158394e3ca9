# Golden values for tests/test_own_effects.py and for the small-study part of test_ikzf1_outcome.py.
# Run from the repository: Rscript tests/golden/own_effects.R
# The cohort is drawn here and written into the JSON; printed arms come from data/published.
suppressMessages({library(survival); library(cmprsk); library(metafor)})

set.seed(29)
n <- 300
marker <- rbinom(n, 1, 0.3)
age <- round(runif(n, 1, 60), 1)
wbc <- round(rnorm(n, 1.3, 0.6), 3)
wbc[sample(n, 9)] <- NA
ph <- rbinom(n, 1, 0.35)
ph[sample(n, 12)] <- NA
mrd <- rbinom(n, 1, 0.3 + 0.2 * marker)
risk <- exp(0.6 * marker + 0.01 * age + 0.3 * ifelse(is.na(wbc), 1.3, wbc) + 0.5 * mrd)
relapse <- rexp(n, 0.004 * risk)
other <- rexp(n, 0.003 * exp(0.3 * marker))
end <- runif(n, 20, 90)
time <- round(pmin(relapse, other, end), 2)
cause <- ifelse(pmin(relapse, other) > end, 0, ifelse(relapse < other, 1, 2))
event <- as.integer(cause > 0)
entry <- 29 / (365.25 / 12)

row <- function(fit, term) {
  s <- summary(fit)
  list(value = s$conf.int[term, 1], low = s$conf.int[term, 3], high = s$conf.int[term, 4],
       n = s$n, events = s$nevent)
}
full <- !is.na(wbc)
late <- full & time > entry
s <- Surv(time, event)
adjusted <- list(
  crude = row(coxph(s ~ marker, subset = full), "marker"),
  adjusted = row(coxph(s ~ marker + age + wbc), "marker"),
  crude_mrd = row(coxph(Surv(rep(entry, n), time, event) ~ marker, subset = late), "marker"),
  adjusted_mrd = row(coxph(Surv(rep(entry, n), time, event) ~ marker + age + wbc + mrd,
                           subset = late), "marker"),
  zph = min(cox.zph(coxph(s ~ marker + age + wbc))$table[, "p"])
)

# The interaction as one model, stratified by the subgroup.
known <- !is.na(ph)
one <- coxph(s ~ marker + marker:ph + strata(ph), subset = known)
i <- summary(one)
interaction <- list(
  inside = row(coxph(s ~ marker, subset = known & ph == 1), "marker"),
  outside = row(coxph(s ~ marker, subset = known & ph == 0), "marker"),
  ratio = list(value = i$conf.int["marker:ph", 1], low = i$conf.int["marker:ph", 3],
               high = i$conf.int["marker:ph", 4], p = i$coefficients["marker:ph", 5]),
  detectable = exp((qnorm(0.975) + qnorm(0.8)) * i$coefficients["marker:ph", 3])
)

ci <- cuminc(time, cause, marker)
at <- timepoints(ci[c("0 1", "1 1")], 60)
fg <- summary(crr(time, cause, cbind(marker), failcode = 1))$conf.int
causes <- list(
  incidence = as.list(unname(at$est[, 1])), gray = unname(ci$Tests["1", "pv"]),
  subdistribution = list(value = fg[1, 1], low = fg[1, 3], high = fg[1, 4]),
  relapse = row(coxph(Surv(time, cause == 1) ~ marker), "marker"),
  other = row(coxph(Surv(time, cause == 2) ~ marker), "marker")
)

# Egger's test on effects and errors written here: the printed disease-free survival of eight.
y <- c(0.83, 0.78, 0.74, 0.92, 0.89, 1.16, 1.1, 0.99)
se <- c(0.15, 0.35, 0.37, 0.58, 1.04, 0.5, 0.57, 0.78)
test <- regtest(rma(y, sei = se), model = "lm", predictor = "sei")
fit <- summary(lm(y ~ se, weights = 1 / se^2))
v <- solve(crossprod(cbind(1, 1 / se)))[1, 1]
power <- function(b) {
  edge <- qt(0.975, length(y) - 2)
  pt(edge, length(y) - 2, b / sqrt(v), lower.tail = FALSE) + pt(-edge, length(y) - 2, b / sqrt(v))
}
egger <- list(
  y = y, se = se, slope = fit$coefficients["se", 1], slope_se = fit$coefficients["se", 2],
  limit = fit$coefficients["(Intercept)", 1], t = unname(test$zval), p = unname(test$pval),
  power = power(1), detectable = uniroot(function(b) power(b) - 0.8, c(0.1, 20), tol = 1e-10)$root
)

versions <- sapply(c("survival", "cmprsk", "metafor"), function(p) as.character(packageVersion(p)))
cohort <- data.frame(marker, age, wbc, ph, mrd, time, cause)
out <- list(r = R.version.string, packages = as.list(versions),
            cohort = lapply(cohort, function(x) x), adjusted = adjusted, interaction = interaction,
            causes = causes, egger = egger)
writeLines(jsonlite::toJSON(out, auto_unbox = TRUE, digits = NA, pretty = TRUE, na = "null"),
           "tests/golden/own_effects.json")
