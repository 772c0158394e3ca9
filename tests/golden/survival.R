# Golden values for tests/test_survival.py. From the repository, with the mirror in BALLBOOK_DATA:
# Rscript tests/golden/survival.R
source("tests/golden/survival_sets.R")

response <- function(d) if (is.null(d$entry)) Surv(d$time, d$event) else Surv(d$entry, d$time, d$event)

curve <- function(name, d, input, times, tau) {
  f <- survfit(response(d) ~ 1, conf.type = "log-log")
  for (t in times) {
    s <- summary(f, times = t, extend = TRUE)
    certain <- s$surv == 0 || s$surv == 1
    # Between observed times R reports the number at risk at the next one, which with late entries
    # is not the number at risk at t.
    observed <- is.null(d$entry) || t %in% f$time
    case("at", name, "survfit(conf.type = 'log-log')", c(input, t = t),
         c(list(value = s$surv, std_error = s$std.err,
                ci_low = if (certain) NA else s$lower, ci_high = if (certain) NA else s$upper),
           if (observed) list(n_risk = s$n.risk)))
  }
  for (p in c(.25, .5, .75)) {
    q <- quantile(f, p)
    # With late entries a bound of the band can fall and rise again. R sorts it before reading it
    # off; we take the first time it is reached. Such bounds are not compared.
    falls <- function(y) !is.unsorted(-y[!is.na(y)])
    case("quantile", name, "quantile(survfit)", c(input, q = p),
         c(list(value = q$quantile), if (falls(round(f$lower, 12))) list(ci_low = q$lower),
           if (falls(round(f$upper, 12))) list(ci_high = q$upper)))
  }
  if (is.null(d$entry) && sum(d$event) > 0) {
    m <- survival:::survmean(f, rmean = tau)$matrix
    mean <- m[[grep("^rmean|\\*rmean", names(m))[1]]]; se <- m[[grep("^se|\\*?se\\(", names(m))[1]]]
    case("restricted_mean", name, "print(survfit, rmean = tau)", c(input, tau = tau),
         list(value = mean, ci_low = mean - qnorm(.975) * se, ci_high = mean + qnorm(.975) * se))
  }
}
by_hand <- function(d) {
  g <- factor(d$group); k <- nlevels(g); u <- numeric(k); v <- matrix(0, k, k)
  for (t in unique(d$time[d$event == 1])) {
    risk <- table(g[d$entry < t & d$time >= t]); n <- sum(risk); e <- table(g[d$event == 1 & d$time == t]); m <- sum(e)
    p <- as.numeric(risk / n)
    u <- u + e - m * p
    if (n > 1) v <- v + m * (n - m) / (n - 1) * (diag(p) - p %o% p)
  }
  drop(u[-1] %*% solve(v[-1, -1]) %*% u[-1])
}
tests <- function(name, d, input) {
  if (sum(d$event) == 0) return(invisible())
  if (is.null(d$entry)) {
    a <- survdiff(Surv(time, event) ~ group, d)
    df <- sum(a$exp > 0) - 1
    case("logrank", name, "survdiff", input,
         list(statistic = a$chisq, df = df, value = pchisq(a$chisq, df, lower.tail = FALSE)))
    b <- survdiff(Surv(time, event) ~ group + strata(stratum), d)
    case("logrank", name, "survdiff with strata", c(input, stratified = TRUE),
         list(statistic = b$chisq, value = pchisq(b$chisq, df, lower.tail = FALSE)))
  } else {
    # survdiff takes no late entry. The score test with exact ties is the log-rank test, but slow
    # on many ties: there, event time by event time.
    statistic <- if (nrow(d) < 200) coxph(Surv(entry, time, event) ~ factor(group), d, ties = "exact")$score
                 else by_hand(d)
    call <- if (nrow(d) < 200) "coxph(ties = 'exact') score test" else "2 x k tables at each event time"
    case("logrank", name, call, input,
         list(statistic = statistic, value = pchisq(statistic, length(unique(d$group)) - 1, lower.tail = FALSE)))
  }
}
follow_up <- function(name, d, input) {
  if (!is.null(d$entry)) return(invisible())
  f <- survfit(Surv(time, 1 - event) ~ 1, d, conf.type = "log-log")
  q <- quantile(f, .5)
  case("median_follow_up", name, "survfit(Surv(time, 1 - event))", input,
       list(value = q$quantile, ci_low = q$lower, ci_high = q$upper))
}
difference <- function(name, d, tau, input) {
  f <- survfit(Surv(time, event) ~ group, d)
  m <- survival:::survmean(f, rmean = tau)$matrix
  mean <- m[, grep("rmean", colnames(m))[1]]; se <- m[, grep("se\\(", colnames(m))[1]]
  gap <- unname(mean[2] - mean[1]); s <- sqrt(sum(se^2))
  case("restricted_mean_difference", name, "survfit rmean by group", c(input, tau = tau),
       list(value = gap, ci_low = gap - qnorm(.975) * s, ci_high = gap + qnorm(.975) * s,
            p_value = 2 * pnorm(-abs(gap / s))))
}

plan <- list("6-MP" = c(20, 0, 6, 7, 12.5, 22, 23), "KMsurv bmt" = c(1000, 1, 100, 365, 1000),
             "KMsurv bmt after platelets" = c(1000, 50, 365, 1000), "Kersey" = c(1500, 30, 365, 1095),
             "EBMT" = c(1825, 30, 365, 1825), "EBMT after recovery" = c(1825, 30, 365, 1825))
for (name in names(plan)) {
  d <- sets[[name]]()
  input <- list(set = name)
  curve(name, d, input, plan[[name]][-1], plan[[name]][1])
  tests(name, d, input)
  follow_up(name, d, input)
  if (length(unique(d$group)) == 2) difference(name, d, plan[[name]][1], input)
}
for (name in names(hard)) {
  d <- hard[[name]]
  input <- list(set = name)
  curve(name, d, input, c(0, min(d$time), median(d$time)), max(d$time) * .8)
  tests(name, d, input)
  follow_up(name, d, input)
}
two <- hard[["heavy ties"]]; two$group <- two$x
difference("heavy ties", two, 8, list(set = "heavy ties", group = "x"))
write_golden("survival", "survival")
