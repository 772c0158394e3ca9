# Golden values for tests/test_audit.py. From the repository: Rscript tests/golden/audit.R
source("tests/golden/golden.R")
suppressMessages(library(survival))

# -- tables printed with a P value
tables <- list(list("Hartmann clusters 1 and 3", rbind(c(12, 5, 1), c(1, 7, 20))),
               list("Bastian FISH", rbind(c(18, 0), c(3, 13))))
for (t in tables) {
  chi <- suppressWarnings(chisq.test(t[[2]], correct = FALSE))
  exact <- fisher.test(t[[2]], workspace = 1e7)
  case("table", t[[1]], "chisq.test(correct = FALSE), fisher.test", list(table = t[[2]]),
       list(statistic = chi$statistic, df = chi$parameter, chi_p = chi$p.value, exact_p = exact$p.value,
            smallest = min(chi$expected)))
}

# -- log(-log) interval of k of n followed to the end
for (s in list(list("blinatumomab pilot, DFS", 25, 30), list("blinatumomab pilot, OS", 28, 30),
               list("D-ALBA, IKZF1plus", 5, 11))) {
  k <- s[[2]]; n <- s[[3]]
  fit <- summary(survfit(Surv(c(rep(1, n - k), rep(2, k)), c(rep(1, n - k), rep(0, k))) ~ 1,
                         conf.type = "log-log"), times = 1.5)
  case("log_log_interval", s[[1]], "survfit(conf.type = 'log-log')", list(k = k, n = n),
       list(low = fit$lower, high = fit$upper))
}

# -- P from the interval of a ratio
for (s in list(list("white cells", 8.86, 2.33, 33.7), list("CNS", 6.87, 1.54, 30.68),
               list("VPREB1", 4.06, 1.05, 15.76))) {
  se <- (log(s[[4]]) - log(s[[3]])) / (2 * qnorm(.975))
  case("p_of_ratio", s[[1]], "2 * pnorm(-abs(log(r) / se))", list(ratio = s[[2]], low = s[[3]], high = s[[4]]),
       list(p = 2 * pnorm(-abs(log(s[[2]]) / se))))
}

# -- the tail of a binomial far below underflow, and the exact bounds
for (s in list(list(290, 231772, 1.6e-4), list(278, 215621, 1.6e-4), list(296, 236800, 1.65e-4),
               list(5000, 231772, 1.6e-4))) {
  k <- s[[1]]; n <- s[[2]]; e <- s[[3]]
  case("log_upper_tail", paste(k, "of", n), "pbinom(log.p = TRUE)", list(k = k, n = n, error = e),
       list(log_p = pbinom(k - 1, n, e, lower.tail = FALSE, log.p = TRUE)), 1e-9)
}
k <- 278:296
fits <- do.call(rbind, lapply(k, function(x) {
  n <- ceiling(x / .00135):floor(x / .00125)
  up <- qbeta(.975, x + 1, n - x)
  p_low <- pbinom(x - 1, n, 1.55e-4, lower.tail = FALSE, log.p = TRUE)
  p_high <- pbinom(x - 1, n, 1.65e-4, lower.tail = FALSE, log.p = TRUE)
  ok <- up >= .00135 & up <= .00145 & p_high >= log(1.45e-151) & p_low <= log(1.55e-151)
  if (!any(ok)) return(NULL)
  low <- qbeta(.025, x, n[ok] - x + 1)
  data.frame(k = x, n_low = min(n[ok]), n_high = max(n[ok]), low_min = min(low), low_max = max(low))
}))
case("clone_sizes", "Coorens 2023", "qbeta and pbinom over all k and N",
     list(fraction = "0.0013", upper = "0.0014", p = "1.5e-151", error = 1.6e-4, error_room = 5e-6),
     list(k_min = min(fits$k), k_max = max(fits$k), n_min = min(fits$n_low), n_max = max(fits$n_high),
          low_min = min(fits$low_min), low_max = max(fits$low_max)))

# -- Stutterheim, table 3
strata <- list(rbind(c(3, 8), c(8, 17)), rbind(c(12, 7), c(25, 26)), rbind(c(16, 11), c(21, 23)),
               rbind(c(16, 2), c(52, 45)))
x <- array(unlist(strata), c(2, 2, 4))
mh <- mantelhaen.test(x, correct = FALSE)
m <- mantelhaen.test(x, correct = TRUE)
one <- fisher.test(strata[[1]])
case("stratified", "Stutterheim table 3", "mantelhaen.test", list(tables = strata),
     list(value = mh$estimate, ci_low = mh$conf.int[1], ci_high = mh$conf.int[2], p = mh$p.value,
          p_corrected = m$p.value, youngest_p = one$p.value))
trend <- function(k, n) prop.trend.test(k, n, 0:3)$p.value
case("trend", "MLL-10 by age", "prop.trend.test", list(k = c(3, 12, 16, 16), n = c(11, 19, 27, 18)),
     list(p = trend(c(3, 12, 16, 16), c(11, 19, 27, 18))))
case("trend", "Interfant-06 by age", "prop.trend.test", list(k = c(8, 25, 21, 52), n = c(25, 51, 44, 97)),
     list(p = trend(c(8, 25, 21, 52), c(25, 51, 44, 97))))
case("weighted_mean", "MLL-10", "weighted.mean", list(survival = c(.944, .566), n = c(19, 56)),
     list(mean = weighted.mean(c(.944, .566), c(19, 56))))
case("weighted_mean", "Interfant-06, EFS", "weighted.mean", list(survival = c(.407, .281), n = c(334, 142)),
     list(mean = weighted.mean(c(.407, .281), c(334, 142))))
case("weighted_mean", "Interfant-06, OS", "weighted.mean", list(survival = c(.523, .381), n = c(334, 142)),
     list(mean = weighted.mean(c(.523, .381), c(334, 142))))
write_golden("audit", "survival")
