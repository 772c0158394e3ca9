# Golden values for tests/test_ordinal.py. From the repository: Rscript tests/golden/ordinal.R
source("tests/golden/golden.R")
suppressMessages({library(MASS); library(ordinal); library(car)})
z <- qnorm(.975)
record <- function(name, y, frame, brant = TRUE) {
  data <- cbind(y = ordered(y), frame); input <- list(y = y, X = as.list(frame))
  m <- clm(y ~ ., data = data, control = clm.control(gradTol = 1e-12, maxIter = 1000L))
  s <- coef(summary(m)); cuts <- length(m$alpha); m0 <- clm(y ~ 1, data = data)
  p <- polr(y ~ ., data = data, Hess = TRUE, control = list(reltol = 1e-15, maxit = 5000))
  for (j in seq_along(m$beta)) {
    v <- s[cuts + j, ]; one <- list(name = names(frame)[j])
    case("proportional_odds", name, "ordinal::clm", c(input, one),
         list(value = exp(v[1]), ci_low = exp(v[1] - z * v[2]), ci_high = exp(v[1] + z * v[2]), p_value = v[4]))
    case("proportional_odds", name, "MASS::polr", c(input, one), list(value = exp(coef(p)[j])), 1e-4)
  }
  case("ordinal_model", name, "ordinal::clm, logLik and anova", input,
       list(log_likelihood = as.numeric(logLik(m)), statistic = 2 * as.numeric(logLik(m) - logLik(m0)), alpha = m$alpha[1]))
  free <- clm(y ~ 1, nominal = as.formula(paste("~", paste(names(frame), collapse = "+"))), data = data,
              control = clm.control(gradTol = 1e-10, maxIter = 1000L))
  drop <- 2 * as.numeric(logLik(free) - logLik(m))
  case("parallelism", name, "ordinal::clm(nominal = ~ x)", c(input, method = "lr"), list(statistic = drop, df = (cuts - 1) * ncol(frame)), 1e-4)
  several <- if (ncol(frame) > 1) names(frame) else character()
  for (one in several) {
    rest <- setdiff(names(frame), one)
    free <- clm(as.formula(paste("y ~", paste(rest, collapse = "+"))), nominal = as.formula(paste("~", one)), data = data,
                control = clm.control(gradTol = 1e-10, maxIter = 1000L))
    case("parallelism", name, "ordinal::clm(nominal = ~ one covariate)", c(input, method = "lr", terms = one),
         list(statistic = 2 * as.numeric(logLik(free) - logLik(m)), df = cuts - 1), 1e-4)
  }
  if (brant) {
    t <- poTest(p)
    for (one in several) {
      j <- match(one, names(frame))
      case("parallelism", name, "car::poTest (Brant), one covariate", c(input, method = "brant", terms = one),
           list(statistic = unname(t$chisq.p[j]), df = t$df.p), 1e-3, "car fits its logistic regressions with glm's default tolerance")
    }
    case("parallelism", name, "car::poTest (Brant)", c(input, method = "brant"), list(statistic = t$chisq, df = t$df), 1e-3,
         "car fits its logistic regressions with glm's default tolerance")
  }
}
counts <- matrix(c(12, 5, 1, 1, 7, 20), 2, byrow = TRUE)
record("Hartmann clusters", rep(rep(0:2, 2), t(counts)), data.frame(cluster = rep(0:1, rowSums(counts))))
d <- chiaretti(); d <- d[d$stage %in% c("B1", "B2", "B3", "B4"), ]
record("Chiaretti stage", as.integer(substr(d$stage, 2, 2)), data.frame(age = d$age_years, male = d$male))
counts <- matrix(c(3, 9, 4, 8, 5, 12), 2, byrow = TRUE)
record("crossing odds", rep(rep(0:2, 2), t(counts)), data.frame(group = rep(0:1, rowSums(counts))))
write_golden("ordinal", c("MASS", "ordinal", "car"))
