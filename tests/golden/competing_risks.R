# Golden values for tests/test_competing_risks.py. From the repository, with the mirror in
# BALLBOOK_DATA: Rscript tests/golden/competing_risks.R
source("tests/golden/survival_sets.R")
suppressMessages(library(cmprsk))

named <- function(values, prefix, terms) setNames(as.list(unname(values)), paste(prefix, terms, sep = "."))
incidence <- function(name, d, times, causes) {
  u <- cuminc(d$time, d$cause)
  for (k in causes) for (t in times) {
    p <- timepoints(u[paste("1", k)], t)
    f <- p$est[1]; s <- sqrt(p$var[1])
    none <- is.na(f) || f <= 0 || f >= 1
    spread <- qnorm(.975) * s / (f * log(f))
    case("incidence", name, "cuminc and timepoints, log(-log) interval", list(set = name, cause = k, t = t),
         list(value = f, std_error = s, ci_low = if (none) NA else f^exp(-spread),
              ci_high = if (none) NA else f^exp(spread)))
  }
}
gray <- function(name, d, column, causes) {
  tests <- cuminc(d$time, d$cause, d[[column]])$Tests
  for (k in causes) {
    s <- tests[rownames(tests) == k, ]
    case("gray", name, paste0("cuminc(group = ", column, ")$Tests"), list(set = name, group = column, of = k),
         list(statistic = s[["stat"]], df = s[["df"]], value = pchisq(s[["stat"]], s[["df"]], lower.tail = FALSE)))
  }
}
regress <- function(name, d, terms, of) {
  f <- crr(d$time, d$cause, as.matrix(d[terms]), failcode = of, gtol = 1e-13, maxiter = 50)
  se <- sqrt(diag(f$var))
  case("fine_gray", name, "crr", list(set = name, terms = I(terms), of = of),
       c(named(f$coef, "coef", terms), named(se, "se", terms),
         named(exp(f$coef - qnorm(.975) * se), "ci_low", terms), named(exp(f$coef + qnorm(.975) * se), "ci_high", terms),
         named(2 * pnorm(-abs(f$coef / se)), "p", terms),
         list(log_likelihood = f$loglik, log_likelihood_null = f$loglik.null)))
  d$seen <- 1 * (d$cause == of)
  g <- coxph(as.formula(paste("Surv(time, seen) ~", paste(terms, collapse = " + "))), d, control = coxph.control(eps = 1e-11))
  case("cause_specific", name, "coxph(Surv(time, cause == of))", list(set = name, terms = I(terms), of = of),
       c(named(coef(g), "coef", terms), named(sqrt(diag(g$var)), "se", terms), list(log_likelihood = g$loglik[2])))
}

transplant <- sets[["bmtcrr"]]()
incidence("bmtcrr", transplant, c(1, 6, 12, 60), 1:2)
gray("bmtcrr", transplant, "group", 1:2)
gray("bmtcrr", transplant, "phase", 1:2)
for (k in 1:2) regress("bmtcrr", transplant, c("age", "aml", "relapse", "blood"), k)
ebmt <- sets[["EBMT"]]()
incidence("EBMT", ebmt, c(30, 365, 1825), 1:2)
gray("EBMT", ebmt, "group", 1:2)
gray("EBMT", ebmt, "stratum", 1:2)
for (k in 1:2) regress("EBMT", ebmt, c("middle", "old", "prophylaxis", "mismatch"), k)

for (name in c("three causes, heavy ties", "nobody censored", "one event of the cause",
               "no event of the cause in a group")) {
  d <- hard[[name]]
  incidence(name, d, c(3, 6, 10), 1:2)
  gray(name, d, "group", if (nrow(d) > 12) 1:3 else 1:2)
  if (nrow(d) > 12) gray(name, d, "x", 1:2)
}
for (k in 1:2) for (name in c("three causes, heavy ties", "nobody censored"))
  regress(name, hard[[name]], c("x", "w"), k)
write_golden("competing_risks", c("cmprsk", "survival"))
