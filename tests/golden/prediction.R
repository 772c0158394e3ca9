# Golden values for tests/test_prediction.py. From the repository, with the mirror in BALLBOOK_DATA:
# Rscript tests/golden/prediction.R
source("tests/golden/survival_sets.R")
suppressMessages({ library(riskRegression); library(rms) })
tight <- coxph.control(eps = 1e-11, iter.max = 50)
# Resamples that both sides compute: row i of resample b.
drawn <- function(n, b) { i <- seq_len(n) - 1; 1 + (i * i * (b + 1) + 7 * i * b + b) %% n }

studied <- list(
  list(set = "KMsurv bmt", terms = c("g2", "g3", "z1"), at = 365),
  list(set = "KMsurv bmt", terms = c("g2", "g3", "z1"), at = 1000),
  list(set = "Kersey", terms = "autologous", at = 365),
  list(set = "Rossi", terms = c("fin", "age", "prio"), at = 40)
)
for (s in studied) {
  d <- sets[[s$set]]()
  f <- coxph(as.formula(paste("Surv(time, event) ~", paste(s$terms, collapse = "+"))), d, x = TRUE, control = tight)
  d$eta <- drop(as.matrix(d[s$terms]) %*% coef(f))
  input <- list(set = s$set, terms = I(s$terms), at = s$at)
  for (by in c(FALSE, TRUE)) {
    k <- if (by) concordance(Surv(time, event) ~ eta + strata(stratum), d, reverse = TRUE)
         else concordance(Surv(time, event) ~ eta, d, reverse = TRUE)
    half <- qnorm(.975) * sqrt(k$var)
    case("concordance", s$set, "concordance(reverse = TRUE)", c(input, stratified = by),
         list(value = k$concordance, ci_low = k$concordance - half, ci_high = k$concordance + half))
  }
  a <- Score(list(eta = d$eta), formula = Surv(time, event) ~ 1, data = d, times = s$at, metrics = "auc",
             cens.model = "km", conf.int = FALSE, null.model = FALSE)
  case("auc", s$set, "riskRegression::Score(cens.model = 'km')", input, list(value = a$AUC$score$AUC))
  zero <- as.data.frame(as.list(setNames(rep(0, length(s$terms)), s$terms)))
  h <- summary(survfit(f, newdata = zero), times = s$at)$cumhaz
  case("baseline", s$set, "survfit(coxph())$cumhaz", input, list(value = h))
}

# Optimism, resample by resample, with coxph and concordance.
for (s in studied[c(1, 4)]) {
  d <- sets[[s$set]]()
  form <- as.formula(paste("Surv(time, event) ~", paste(s$terms, collapse = "+")))
  x <- as.matrix(d[s$terms])
  gain <- slope <- c()
  for (b in 1:20) {
    e <- d[drawn(nrow(d), b), ]
    f <- coxph(form, e, control = tight)
    e$eta <- drop(as.matrix(e[s$terms]) %*% coef(f)); d$eta <- drop(x %*% coef(f))
    gain <- c(gain, concordance(Surv(time, event) ~ eta, e, reverse = TRUE)$concordance -
                    concordance(Surv(time, event) ~ eta, d, reverse = TRUE)$concordance)
    slope <- c(slope, 1 - coef(coxph(Surv(time, event) ~ eta, d, control = tight)))
  }
  case("optimism", s$set, "coxph and concordance on the same 20 resamples",
       list(set = s$set, terms = I(s$terms), at = s$at),
       list(concordance = mean(gain), slope = mean(slope)), tolerance = 1e-5,
       note = "Coefficients of each resample are those of an iterative fit.")
  set.seed(20260219)
  v <- validate(cph(form, d, x = TRUE, y = TRUE), B = 1000)
  # cph models survival, so that its Dxy is of the predictor as it stands.
  case("validate", s$set, "rms::validate(cph(), B = 1000)",
       list(set = s$set, terms = I(s$terms), at = s$at),
       list(concordance = .5 + v["Dxy", "index.corrected"] / 2, slope = v["Slope", "index.corrected"]),
       tolerance = 0.02, note = "Both are means over random resamples.")
}
write_golden("prediction", c("survival", "riskRegression", "rms"))
