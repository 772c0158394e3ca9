# Golden values for tests/test_combine.py. From the repository: Rscript tests/golden/combine.R
# Estimates with intervals as cohorts would share them; the scales are written out here anew.
source("tests/golden/golden.R")
suppressMessages({library(metafor); library(lme4)})

z <- qnorm(.975)
scales <- list(
  "hazard-ratio" = list(there = log, back = exp, null = 1),
  "odds-ratio" = list(there = log, back = exp, null = 1),
  "median" = list(there = log, back = exp, null = NA),
  "survival" = list(there = function(s) log(-log(s)), back = function(y) exp(-exp(y)), null = NA),
  "cumulative-incidence" = list(there = function(s) log(-log(1 - s)), back = function(y) 1 - exp(-exp(y)), null = NA),
  "proportion" = list(there = qlogis, back = plogis, null = NA),
  "correlation" = list(there = atanh, back = tanh, null = 0),
  "difference" = list(there = identity, back = identity, null = 0),
  "auc" = list(there = identity, back = identity, null = .5))

pool <- function(name, kind, value, low, high) {
  g <- scales[[kind]]; null <- if (is.na(g$null)) 0 else g$there(g$null)
  y <- g$there(value) - null
  s <- abs(g$there(high) - g$there(low)) / (2 * z)
  control <- list(threshold = 1e-13, maxiter = 10000)
  a <- rma.uni(y, sei = s, method = "REML", test = "z", control = control)
  b <- rma.uni(y, sei = s, method = "REML", test = "knha", control = control)
  f <- rma.uni(y, sei = s, method = "FE")
  wide <- if (b$ci.ub - b$ci.lb >= a$ci.ub - a$ci.lb) b else a
  back <- function(x) g$back(x + null)
  span <- function(r) sort(c(back(r$ci.lb), back(r$ci.ub)))
  expected <- list(value = back(a$b[1]), low = span(wide)[1], high = span(wide)[2],
                   normal_low = span(a)[1], normal_high = span(a)[2],
                   hk_low = span(b)[1], hk_high = span(b)[2],
                   common = back(f$b[1]), common_low = span(f)[1], common_high = span(f)[2],
                   q = a$QE, q_p = a$QEp, tau2 = a$tau2, i2 = a$I2 / 100)
  if (!is.na(g$null)) expected$p <- wide$pval
  case("pool", name, "metafor::rma(method = 'REML'), the wider of test = 'z' and test = 'knha'",
       list(kind = kind, value = value, ci_low = low, ci_high = high), expected, 1e-5)
}
pool("two ratios", "hazard-ratio", c(2.06, 1.79), c(1.27, 1.10), c(3.36, 2.91))
pool("three ratios that differ", "odds-ratio", c(3.1, 0.8, 1.9), c(1.9, 0.45, 1.1), c(5.1, 1.42, 3.3))
pool("three medians", "median", c(21.5, 14, 30.2), c(15.1, 9.3, 19.8), c(30.0, 22.4, 47.1))
pool("four survival fractions", "survival", c(.61, .72, .55, .8), c(.5, .6, .4, .7), c(.7, .81, .68, .87))
pool("two incidences", "cumulative-incidence", c(.21, .35), c(.13, .25), c(.31, .46))
pool("three proportions without counts", "proportion", c(.2, .31, .12), c(.12, .2, .06), c(.31, .45, .22))
pool("four correlations", "correlation", c(.42, .1, .55, .3), c(.2, -.15, .3, .02), c(.6, .34, .73, .53))
pool("three differences", "difference", c(.11, .3, -.05), c(-.02, .12, -.2), c(.24, .48, .1))
pool("three areas", "auc", c(.71, .64, .8), c(.6, .52, .7), c(.82, .76, .9))

k <- c(7, 12, 5, 0, 9); n <- c(40, 55, 61, 23, 30)
d <- data.frame(k, n, cohort = factor(seq_along(k)))
m <- glmer(cbind(k, n - k) ~ 1 + (1 | cohort), d, binomial, nAGQ = 21,
           control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10)))
case("counts", "five proportions with counts, one of nobody", "lme4::glmer(cbind(k, n - k) ~ 1 + (1 | cohort), nAGQ = 21)",
     list(k = k, n = n), list(value = unname(plogis(fixef(m))), tau2 = as.data.frame(VarCorr(m))$vcov), 1e-4)

write_golden("combine", c("metafor", "lme4"))
