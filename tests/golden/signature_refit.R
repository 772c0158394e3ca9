# Golden values for tests/test_signature_refit.py.
# From the repository: Rscript tests/golden/signature_refit.R
source("tests/golden/golden.R")
suppressMessages(library(quadprog))
set.seed(20260219)
negative <- function(e, m, s) { mu <- as.vector(s %*% e); -sum(m * log(mu) - mu) }
gradient <- function(e, m, s) { mu <- as.vector(s %*% e); -as.vector(t(s) %*% (m / mu - 1)) }
best <- function(m, s) {
  e <- rep(sum(m) / ncol(s), ncol(s))
  for (i in 1:50) e <- optim(pmax(e, 1e-9), negative, gradient, m = m, s = s, method = "L-BFGS-B",
                             lower = 1e-12, control = list(factr = 1, maxit = 5000))$par
  list(e = e, l = -negative(e, m, s))
}
squares <- function(m, s) {
  k <- ncol(s)
  q <- solve.QP(crossprod(s), as.vector(crossprod(s, m)), diag(k), rep(0, k))
  pmax(q$solution, 0)
}
one <- function(name, s, m) {
  input <- list(counts = m, signatures = s)
  case("least_squares", name, "quadprog::solve.QP", input, list(exposures = squares(m, s)), 1e-6)
  full <- best(m, s); less <- best(m, s[, -1, drop = FALSE])
  stat <- max(2 * (full$l - less$l), 0)
  # L-BFGS-B stops where the likelihood is flat: exposures agree less closely than likelihoods.
  case("likelihood", name, "optim(L-BFGS-B)", input, list(log_likelihood = full$l), 1e-9)
  case("exposures", name, "optim(L-BFGS-B)", input, list(exposures = full$e), 1e-3,
       "optim stops where the likelihood is flat in the exposures")
  case("presence", name, "optim(L-BFGS-B), pchisq", input,
       list(statistic = stat, p_value = pchisq(stat, 1, lower.tail = FALSE) / 2), 1e-4,
       "the statistic is a difference of two maxima found by optim")
}
draw <- function(channels, shape, parts) {
  s <- apply(matrix(rgamma(channels * length(parts), shape), channels), 2, function(v) v / sum(v))
  list(s = s, m = rpois(channels, as.vector(s %*% parts)))
}
a <- draw(24, .5, c(60, 200, 120, 30)); one("four signatures, 24 channels", a$s, a$m)
b <- draw(24, 3, c(40, 60, 30)); one("three flat signatures, few mutations", b$s, b$m)
d <- draw(48, .3, c(500, 3000, 800, 100, 900)); one("five signatures, many mutations", d$s, d$m)
write_golden("signature_refit", "quadprog")
