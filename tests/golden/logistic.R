# Golden values for tests/test_logistic.py.
# From the repository: BALLBOOK_DATA=<mirror> Rscript tests/golden/logistic.R
source("tests/golden/golden.R")
suppressMessages(library(brglm2))
z <- qnorm(.975)

likelihood <- function(y, X, b, penalised) {
  eta <- drop(X %*% b); w <- plogis(eta) * plogis(-eta)
  sum(y * eta - pmax(eta, 0) - log1p(exp(-abs(eta)))) +
    if (penalised) determinant(crossprod(X * sqrt(w)))$modulus / 2 else 0
}
score <- function(y, X, b, penalised) {
  p <- plogis(drop(X %*% b)); w <- p * (1 - p)
  h <- if (penalised) { R <- X * sqrt(w); rowSums((R %*% solve(crossprod(R))) * R) } else 0
  drop(crossprod(X, y - p + h * (.5 - p)))
}
# Maximum with one coefficient held, by a quasi-Newton method on the scores.
held <- function(y, X, j, value, start, penalised) {
  free <- setdiff(seq_len(ncol(X)), j); b <- start; b[j] <- value
  full <- function(q) { b[free] <- q; b }
  o <- optim(start[free], function(q) -likelihood(y, X, full(q), penalised), function(q) -score(y, X, full(q), penalised)[free],
             method = "BFGS", control = list(reltol = 1e-16, maxit = 1000))
  -o$value
}
profile_of <- function(y, X, j, b, se, penalised) {
  top <- likelihood(y, X, b, penalised)
  f <- function(v) 2 * (top - held(y, X, j, v, b, penalised)) - qchisq(.95, 1)
  drop <- 2 * (top - held(y, X, j, 0, b, penalised))
  list(value = exp(b[j]), ci_low = exp(uniroot(f, b[j] + c(-12, 0) * se[j], tol = 1e-11)$root),
       ci_high = exp(uniroot(f, b[j] + c(0, 12) * se[j], tol = 1e-11)$root), statistic = drop, p_value = pchisq(drop, 1, lower.tail = FALSE))
}
record <- function(name, y, frame, input, firth_only = FALSE) {
  X <- cbind(1, as.matrix(frame)); data <- cbind(y = y, frame)
  if (!firth_only) {
    m <- glm(y ~ ., binomial, data, epsilon = 1e-14, maxit = 100)
    s <- summary(m)$coefficients; b <- unname(coef(m))
    for (j in 2:ncol(X)) {
      case("logistic", name, "glm, Wald", c(input, name = colnames(frame)[j - 1], profile = FALSE),
           list(value = exp(b[j]), ci_low = exp(b[j] - z * s[j, 2]), ci_high = exp(b[j] + z * s[j, 2]), p_value = s[j, 4], statistic = s[j, 3]))
      case("logistic", name, "profile of glm's likelihood by optim and uniroot", c(input, name = colnames(frame)[j - 1], profile = TRUE),
           profile_of(y, X, j, b, s[, 2], FALSE), 1e-4)
    }
    m0 <- glm(y ~ 1, binomial, data)
    case("logistic_lr", name, "anova(test = 'LRT')", input,
         list(statistic = m0$deviance - m$deviance, log_likelihood = as.numeric(logLik(m))))
  }
  f <- glm(y ~ ., binomial, data, method = "brglmFit", type = "AS_mean", epsilon = 1e-12, maxit = 10000, slowit = .5)
  b <- unname(coef(f)); w <- plogis(drop(X %*% b)); se <- sqrt(diag(solve(crossprod(X * sqrt(w * (1 - w))))))
  for (j in 2:ncol(X)) {
    case("firth_logistic", name, "brglm2::brglmFit(type = 'AS_mean')", c(input, name = colnames(frame)[j - 1], profile = FALSE),
         list(value = exp(b[j]), ci_low = exp(b[j] - z * se[j]), ci_high = exp(b[j] + z * se[j])), 1e-4)
    case("firth_logistic", name, "profile of the penalised likelihood by optim and uniroot", c(input, name = colnames(frame)[j - 1], profile = TRUE),
         profile_of(y, X, j, b, se, TRUE), 1e-4)
  }
}
d <- chiaretti(); d <- d[!is.na(d$remission), ]
frame <- d[c("age_years", "male", "bcr_abl")]; y <- as.integer(d$remission == "REF")
record("Chiaretti, refractory", y, frame, list(y = y, X = as.list(frame)))
record("zero cells: separated", c(0, 0, 1, 0, 1, 1, 1, 1), data.frame(s = rep(0:1, each = 4), z = c(1, 2, 3, 4, 1, 2, 3, 5)),
       list(y = c(0, 0, 1, 0, 1, 1, 1, 1), X = list(s = rep(0:1, each = 4), z = c(1, 2, 3, 4, 1, 2, 3, 5))), TRUE)
k <- d$kmt2a; other <- d[c("age_years", "male")]
bcr <- d$bcr_abl; sep <- data.frame(kmt2a = k, age_years = d$age_years)
record("Chiaretti: BCR::ABL1 never with KMT2A-r", bcr, sep, list(y = bcr, X = as.list(sep)), TRUE)
if (Sys.getenv("BALLBOOK_DATA") != "") {
  b <- bmt(); frame <- data.frame(patient_age = b$z1, fab = b$z8, waiting_days = b$z7)
  record("KMsurv bmt, relapse", b$d2, frame, list(y = "d2", X = list(patient_age = "z1", fab = "z8", waiting_days = "z7")))
}
write_golden("logistic", "brglm2")
