# Golden values for tests/test_time_dependent_roc.py. From the repository, with the mirror in
# BALLBOOK_DATA: Rscript tests/golden/time_dependent_roc.R
source("tests/golden/survival_sets.R")
suppressMessages({ library(riskRegression); library(data.table) })

# The AUC as a double sum in which patient k counts w[k] times, in the censoring curve too. Censored
# at the time of an event means later, so events are moved a little forward.
weighted_auc <- function(d, m, at, w) {
  early <- d$time - 1e-4 * d$event
  g <- survfit(Surv(early, 1 - d$event) ~ 1, weights = w)
  before <- c(1, g$surv)[1 + findInterval(d$time - 1e-5, g$time)]
  i <- which(d$event == 1 & d$time <= at); j <- which(d$time > at)
  a <- w[i] / before[i]
  h <- outer(m[i], m[j], ">") + outer(m[i], m[j], "==") / 2
  sum((a %o% w[j]) * h) / (sum(a) * sum(w[j]))
}
influence <- function(d, m, at, step = 1e-4) {
  one <- rep(1, nrow(d))
  vapply(seq_len(nrow(d)), function(k) {
    up <- down <- one; up[k] <- 1 + step; down[k] <- 1 - step
    (weighted_auc(d, m, at, up) - weighted_auc(d, m, at, down)) / (2 * step)
  }, 0)
}
logit <- function(v, se) plogis(qlogis(v) + c(-1, 1) * qnorm(.975) * se / (v * (1 - v)))

studied <- list(
  list(set = "KMsurv bmt", marker = "z1", other = "z8", at = 365),
  list(set = "KMsurv bmt", marker = "z1", other = "z2", at = 730),
  list(set = "Kersey", marker = "autologous", at = 365),
  list(set = "6-MP", marker = "placebo", at = 12)
)
for (s in studied) {
  d <- sets[[s$set]]()
  m <- as.numeric(d[[s$marker]])
  input <- list(set = s$set, marker = s$marker, at = s$at)
  u <- influence(d, m, s$at); v <- weighted_auc(d, m, s$at, rep(1, nrow(d))); se <- sqrt(sum(u^2))
  case("roc", s$set, "numeric derivatives of a double sum by survfit(weights)", input,
       list(value = v, std_error = se, ci_low = logit(v, se)[1], ci_high = logit(v, se)[2]),
       tolerance = 1e-6)
  markers <- list(m = m)
  if (!is.null(s$other)) markers$o <- as.numeric(d[[s$other]])
  a <- Score(markers, formula = Surv(time, event) ~ 1, data = d, times = s$at, metrics = "auc",
             cens.model = "km", conf.int = TRUE, null.model = FALSE)
  got <- a$AUC$score[model == "m"]
  case("large_sample", s$set, "riskRegression::Score(metrics = 'auc', cens.model = 'km')", input,
       list(value = got$AUC), tolerance = 1e-9)
  case("large_sample", s$set, "riskRegression::Score()$AUC$score$se", input,
       list(std_error = got$se), tolerance = 0.03,
       note = "Its influence function is that of large samples, ours the exact one of this sample.")
  if (!is.null(s$other)) {
    input$other <- s$other
    o <- as.numeric(d[[s$other]]); gap <- v - weighted_auc(d, o, s$at, rep(1, nrow(d)))
    se <- sqrt(sum((u - influence(d, o, s$at))^2)); half <- qnorm(.975) * se
    case("difference", s$set, "numeric derivatives of a double sum by survfit(weights)", input,
         list(value = gap, ci_low = gap - half, ci_high = gap + half,
              p_value = 2 * pnorm(-abs(gap) / se), statistic = gap / se), tolerance = 1e-6)
    k <- a$AUC$contrasts
    case("difference", s$set, "riskRegression::Score()$AUC$contrasts", input,
         list(statistic = -k$delta.AUC / k$se), tolerance = 0.03,
         note = "The same large-sample influence function.")
  }
}
write_golden("time_dependent_roc", c("survival", "riskRegression"))
