# Golden values for tests/test_censored_regression.py.
# From the repository: Rscript tests/golden/censored_regression.R
source("tests/golden/golden.R")
suppressMessages(library(survival))
z <- qnorm(.975)
exactly <- survreg.control(rel.tolerance = 1e-14, iter.max = 500)
open_ends <- function(x) lapply(x, function(v) if (is.finite(v)) v else NULL)
record <- function(name, low, high, frame) {
  # survreg writes an open end as NA.
  d <- data.frame(low = ifelse(is.finite(low), low, NA), high = ifelse(is.finite(high), high, NA), frame)
  given <- list(low = open_ends(low), high = open_ends(high), X = as.list(frame))
  formula <- as.formula(paste("Surv(low, high, type = 'interval2') ~", paste(names(frame), collapse = " + ")))
  for (dist in c("gaussian", "logistic")) {
    m <- survreg(formula, d, dist = dist, control = exactly)
    s <- summary(m)$table
    call <- paste0("survreg(interval2, dist = ", dist, ")")
    for (j in seq_len(ncol(frame) + 1)) {
      b <- s[j, 1]; se <- s[j, 2]
      case("interval_regression", name, call,
           c(given, distribution = dist, name = c("(intercept)", names(frame))[j]),
           list(value = b, ci_low = b - z * se, ci_high = b + z * se, p_value = s[j, 4], statistic = s[j, 3]))
    }
    case("interval_model", name, call, c(given, distribution = dist),
         list(sigma = m$scale, log_sigma_se = s[nrow(s), 2], log_likelihood = m$loglik[2],
              statistic = 2 * diff(m$loglik), df = ncol(frame)))
    # Likelihood ratio test of each covariate, and the profile interval of the first.
    if (ncol(frame) > 1) for (j in names(frame)) {
      rest <- update(formula, paste(". ~ . -", j))
      drop <- 2 * (m$loglik[2] - survreg(rest, d, dist = dist, control = exactly)$loglik[2])
      case("likelihood_ratio", name, paste("2 x difference of logLik,", dist), c(given, distribution = dist, name = j),
           list(statistic = drop, p_value = pchisq(drop, 1, lower.tail = FALSE)))
    }
    first <- names(frame)[1]; b <- s[2, 1]; se <- s[2, 2]
    rest <- if (ncol(frame) > 1) update(formula, paste(". ~ . -", first)) else update(formula, . ~ 1)
    excess <- function(v) {
      fixed <- d
      fixed$off <- v * d[[first]]
      # Far from the root survreg may run out of steps; the root is what counts.
      m0 <- suppressWarnings(survreg(update(rest, . ~ . + offset(off)), fixed, dist = dist, control = exactly))
      2 * (m$loglik[2] - m0$loglik[2]) - qchisq(.95, 1)
    }
    case("profile", name, paste("survreg with offset, uniroot,", dist), c(given, distribution = dist, name = first),
         list(ci_low = solve_for(excess, b - 6 * se, b), ci_high = solve_for(excess, b, b + 6 * se)))
  }
}
# Tobin's households, as in survival::tobin: the set for which the model was made.
t <- survival::tobin
record("Tobin 1958, durable goods", ifelse(t$durable > 0, t$durable, -Inf), t$durable, data.frame(age = t$age, quant = t$quant))
# Log MRD under three limits of detection, rounded so that ties occur.
set.seed(20260219)
n <- 60
frame <- data.frame(age = round(runif(n, 1, 30), 1), fused = rep(0:1, c(24, 36)), wbc = round(rnorm(n, 1.5, .6), 2))
level <- round(-4.3 + .02 * frame$age + .6 * frame$fused + .3 * frame$wbc + 1.3 * rnorm(n), 1)
limit <- sample(c(-5, -4, -3), n, TRUE, c(.3, .6, .1))
record("simulated log MRD, three limits", ifelse(level < limit, -Inf, level), ifelse(level < limit, limit, level), frame)
# Every kind of bound at once: exact, left, right, interval.
low <- c(-Inf, 1.2, 2, 3.1, -Inf, 4, 5.5, 2.2, 6, 3, 4.4, -Inf)
high <- c(1, 1.2, 3, 3.1, 2, Inf, 5.5, 4, Inf, 3, 5, 1.5)
record("twelve bounds of every kind", low, high, data.frame(x = c(1, 2, 3, 4, 2, 6, 7, 3, 8, 4, 6, 1)))
# Ages read only as decades below 20 and exactly above.
d <- chiaretti()
record("Chiaretti, ages under 20 as under 20", ifelse(d$age_years < 20, -Inf, d$age_years), ifelse(d$age_years < 20, 20, d$age_years), d[c("male", "bcr_abl")])
# The distribution of left-censored values: Kaplan-Meier on the reversed scale.
seen <- level >= limit
flipped <- max(pmax(level, limit)) - ifelse(seen, level, limit)
s <- summary(survfit(Surv(round(flipped, 10), seen) ~ 1))
case("left_censored_distribution", "simulated log MRD, three limits", "survfit on the reversed scale",
     list(level = ifelse(seen, level, limit), detected = seen),
     list(level = max(pmax(level, limit)) - s$time, at_or_above = 1 - s$surv))
write_golden("censored_regression", "survival")
