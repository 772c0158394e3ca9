# Golden values for tests/test_power.py. From the repository: Rscript tests/golden/power.R
source("tests/golden/golden.R")
suppressMessages(library(Hmisc))

# The formulae of the papers written out; power counts both tails.
tails <- function(shift, alpha) pnorm(shift - qnorm(1 - alpha / 2)) + pnorm(-shift - qnorm(1 - alpha / 2))
for (hr in c(.5, 1.5, 2, 3.7)) for (allocation in c(.5, .2)) {
  reach <- (qnorm(.975) + qnorm(.8))^2
  odds <- allocation / (1 - allocation)
  paper <- list(schoenfeld = reach / (allocation * (1 - allocation) * log(hr)^2),
                freedman = reach * ((1 + odds * hr) / (1 - hr))^2 / odds)
  for (method in names(paper))
    case("logrank_events", "formula", paste("Schoenfeld 1981 or Freedman 1982:", method),
         list(hr = hr, allocation = allocation, method = method),
         list(statistic = paper[[method]], value = ceiling(paper[[method]])))
  for (events in c(8, 40, 150)) {
    case("logrank_power", "formula", "Schoenfeld 1981", list(hr = hr, events = events, allocation = allocation),
         list(value = tails(abs(log(hr)) * sqrt(allocation * (1 - allocation) * events), .05)))
    case("cox_power", "formula", "Hsieh and Lavori 2000",
         list(hr = hr, events = events, prevalence = allocation, r_squared = .15),
         list(value = tails(abs(log(hr)) * sqrt(allocation * (1 - allocation) * .85 * events), .05)))
  }
}
# Multiple myeloma: log hazard ratio 1 per unit of a covariate with SD 0.3126, R-squared 0.1837,
# one-sided 5%, 80% power.
case("cox_events", "Hsieh and Lavori 2000, myeloma", "formula with the numbers of the example",
     list(hr = exp(1), power = .8, alpha = .1, sd = .3126, r_squared = .1837),
     list(statistic = (qnorm(.95) + qnorm(.8))^2 / (.3126^2 * (1 - .1837))))

for (p in list(c(.1, .3), c(.2, .5), c(.6, .65))) for (n in c(8, 30, 200)) {
  v <- power.prop.test(n = n, p1 = p[1], p2 = p[2], strict = TRUE)$power
  case("two_proportions_power", "formula", "power.prop.test(strict = TRUE)",
       list(p1 = p[1], p2 = p[2], n1 = n, n2 = n), list(value = v))
}
for (p in list(c(.1, .3), c(.2, .5), c(.6, .65))) for (power in c(.8, .9)) {
  v <- power.prop.test(p1 = p[1], p2 = p[2], power = power, tol = 1e-12)$n
  case("two_proportions_n", "formula", "power.prop.test", list(p1 = p[1], p2 = p[2], power = power),
       list(statistic = v, value = ceiling(v)))
}
fisher <- function(p1, p2, n1, n2) {
  total <- 0
  for (a in 0:n1) for (b in 0:n2)
    if (fisher.test(matrix(c(a, n1 - a, b, n2 - b), 2))$p.value <= .05)
      total <- total + dbinom(a, n1, p1) * dbinom(b, n2, p2)
  total
}
for (s in list(list(.2, .5, 20, 30), list(.1, .6, 9, 14), list(.3, .3, 12, 12), list(.05, .5, 4, 30)))
  case("two_proportions_power", "every table", "fisher.test on every table",
       list(p1 = s[[1]], p2 = s[[2]], n1 = s[[3]], n2 = s[[4]], method = "exact"), list(value = do.call(fisher, s)))

for (s in list(c(12, 24, 60, 60, 24, 12), c(4.8, 10, 20, 80, 36, 0), c(20, 30, 100, 50, 0, 24))) {
  died <- function(m) 1 - exp(-log(2) / m * 12)
  v <- cpower(12, mc = died(s[1]), r = 100 * (1 - died(s[2]) / died(s[1])), accrual = s[5], tmin = s[6],
              nc = s[3], ni = s[4], pr = FALSE)
  case("medians_power", "exponential survival", "Hmisc::cpower",
       list(median1 = s[2], median0 = s[1], n1 = s[4], n0 = s[3], accrual = s[5], follow_up = s[6]), list(value = v[[1]]))
}
write_golden("power", "Hmisc")
