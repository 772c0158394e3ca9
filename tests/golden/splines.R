# Golden values for tests/test_splines.py. From the repository: Rscript tests/golden/splines.R
source("tests/golden/golden.R")
suppressMessages({ library(rms); library(survival) })
x <- c(-3, -1.2, -.7, 0, .1, .4, 1, 1.3, 2, 3.7)
for (k in list(c(-1, 0, 1), c(-2, -.5, .5, 2), c(-2, -1, 0, 1, 3))) {
  b <- Hmisc::rcspline.eval(x, knots = k, inclx = TRUE)
  case("basis", paste(length(k), "knots"), "Hmisc::rcspline.eval(inclx = TRUE)", list(x = x, knots = k),
       setNames(as.list(as.vector(b)), paste0("v", seq_along(b) - 1)))
}
d <- chiaretti()
i <- seq_len(nrow(d))
d$time <- 1 + (i * 37) %% 101; d$event <- 1 * ((i * 13) %% 7 < 5)
for (n in 3:5) {
  p <- list(c(.1, .5, .9), c(.05, .35, .65, .95), c(.05, .275, .5, .725, .95))[[n - 2]]
  k <- unname(quantile(d$age_years, p))
  b <- Hmisc::rcspline.eval(d$age_years, knots = k, inclx = TRUE)
  one <- coxph(Surv(time, event) ~ age_years + male, d); all <- coxph(Surv(time, event) ~ b + male, d)
  chi <- 2 * (all$loglik[2] - one$loglik[2])
  case("nonlinearity", "Chiaretti, invented times", "coxph() with rcspline.eval(), likelihood ratio", list(knots = n),
       list(statistic = chi, df = n - 2, p_value = pchisq(chi, n - 2, lower.tail = FALSE)), tolerance = 1e-5,
       note = "Differences of two maximised likelihoods.")
}
write_golden("splines", c("Hmisc", "survival"))
