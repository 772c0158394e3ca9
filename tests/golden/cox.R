# Golden values for tests/test_cox.py. From the repository, with the mirror in BALLBOOK_DATA:
# Rscript tests/golden/cox.R
source("tests/golden/survival_sets.R")

response <- function(d) if (is.null(d$entry)) Surv(d$time, d$event) else Surv(d$entry, d$time, d$event)
tight <- coxph.control(eps = 1e-11, iter.max = 50)

fit <- function(d, terms, stratified = FALSE, ties = "efron", cluster = NULL) {
  d$y <- response(d)
  right <- paste(terms, collapse = " + ")
  if (stratified) right <- paste(right, "+ strata(stratum)")
  args <- list(as.formula(paste("y ~", right)), data = d, ties = ties, control = tight)
  if (!is.null(cluster)) { d$who <- cluster; args$data <- d; args$cluster <- quote(who) }
  do.call(coxph, args)
}
named <- function(values, prefix, terms) setNames(as.list(unname(values)), paste(prefix, terms, sep = "."))
numbers <- function(f, terms) {
  s <- summary(f)
  robust <- !is.null(f$naive.var)
  ci <- s$conf.int
  c(named(coef(f), "coef", terms), named(sqrt(diag(f$var)), "se", terms),
    named(ci[, "lower .95"], "ci_low", terms), named(ci[, "upper .95"], "ci_high", terms),
    named(s$coefficients[, "Pr(>|z|)"], "p", terms),
    list(log_likelihood = f$loglik[2], log_likelihood_null = f$loglik[1],
         likelihood_ratio = s$logtest[["test"]], wald = drop(coef(f) %*% solve(f$var) %*% coef(f)), score = s$sctest[["test"]]))
}
describe <- function(name, d, terms, stratified = FALSE) {
  input <- list(set = name, terms = I(terms), stratified = stratified)
  label <- if (stratified) "coxph with strata" else "coxph"
  f <- fit(d, terms, stratified)
  case("cox", name, label, input, numbers(f, terms))
  case("cox", name, paste0(label, "(ties = 'breslow')"), c(input, ties = "breslow"),
       numbers(fit(d, terms, stratified, "breslow"), terms))
  each <- fit(d, terms, stratified, cluster = seq_len(nrow(d)))
  case("cox", name, paste0(label, "(robust = TRUE)"), c(input, robust = TRUE), numbers(each, terms))
  pairs <- fit(d, terms, stratified, cluster = (seq_len(nrow(d)) - 1) %/% 2)
  case("cox", name, paste0(label, "(cluster = pairs)"), c(input, cluster = TRUE), numbers(pairs, terms))
  k <- concordance(f)
  case("concordance", name, paste0("concordance(", label, ")"), input,
       list(value = k$concordance, ci_low = k$concordance - qnorm(.975) * sqrt(k$var),
            ci_high = k$concordance + qnorm(.975) * sqrt(k$var)))
  for (g in c("km", "rank", "identity", if (all(d$time[d$event == 1] > 0)) "log")) {
    z <- cox.zph(f, g)$table
    case("proportional_hazards", name, paste0("cox.zph(", label, ", '", g, "')"), c(input, transform = g),
         c(named(z[, "chisq"], "chisq", c(terms, "GLOBAL")), named(z[, "p"], "p", c(terms, "GLOBAL"))))
  }
  # Sums that do not depend on the order of tied events.
  r <- as.matrix(residuals(f, "schoenfeld"))
  case("schoenfeld", name, "residuals(type = 'schoenfeld')", c(input, scaled = FALSE),
       c(named(colSums(r^2), "squares", terms), named(colSums(r^2 * as.numeric(rownames(r))), "trend", terms)))
  y <- cox.zph(f, "identity", terms = FALSE)$y
  case("schoenfeld", name, "cox.zph()$y", c(input, scaled = TRUE), named(colSums(y^2), "squares", terms))
}

# Firth: the penalised likelihood, from coxph's own likelihood and information at fixed
# coefficients, maximised by nlminb; coxphf is not used because it has Breslow ties only.
penalised <- function(b, d, terms, stratified) {
  d$y <- response(d)
  right <- paste(c(terms, if (stratified) "strata(stratum)"), collapse = " + ")
  f <- coxph(as.formula(paste("y ~", right)), d, init = b, control = coxph.control(iter.max = 0, toler.chol = 1e-20))
  f$loglik[1] - determinant(as.matrix(f$var))$modulus[1] / 2
}
firth <- function(name, d, terms, stratified = FALSE) {
  top <- function(b, free = seq_along(b)) {
    g <- function(v) { b[free] <- v; suppressWarnings(-penalised(b, d, terms, stratified)) }
    if (!length(free)) return(list(b = b, value = -g(numeric())))
    o <- nlminb(b[free], g, control = list(rel.tol = 1e-14, x.tol = 1e-10))
    o <- nlminb(o$par, g, control = list(rel.tol = 1e-14, x.tol = 1e-10))
    b[free] <- o$par
    list(b = b, value = -o$objective)
  }
  best <- top(numeric(length(terms)))
  out <- named(best$b, "coef", terms)
  for (j in seq_along(terms)) {
    drop <- function(v) { b <- best$b; b[j] <- v; 2 * (best$value - top(b, setdiff(seq_along(b), j))$value) }
    edge <- function(to) uniroot(function(v) drop(v) - qchisq(.95, 1), sort(c(best$b[j], to)), tol = 1e-9)$root
    out[[paste0("p.", terms[j])]] <- pchisq(drop(0), 1, lower.tail = FALSE)
    out[[paste0("ci_low.", terms[j])]] <- exp(edge(best$b[j] - 7))
    out[[paste0("ci_high.", terms[j])]] <- exp(edge(best$b[j] + 7))
  }
  out$log_likelihood <- best$value
  out$likelihood_ratio <- 2 * (best$value - penalised(numeric(length(terms)), d, terms, stratified))
  case("firth", name, "coxph log-likelihood + log|I|/2, nlminb", list(set = name, terms = I(terms), stratified = stratified),
       out, 1e-4, "both sides iterate; the reference differentiates numerically")
}

rossi <- c("fin", "age", "race", "wexp", "mar", "paro", "prio")
describe("Rossi", sets[["Rossi"]](), rossi)
describe("Rossi", sets[["Rossi"]](), setdiff(rossi, "race"), TRUE)
transplant <- c("g2", "g3", "z1", "z2", "z8", "z10")
describe("KMsurv bmt", sets[["KMsurv bmt"]](), transplant)
describe("KMsurv bmt", sets[["KMsurv bmt"]](), setdiff(transplant, "z10"), TRUE)  # z10 goes with the hospital
describe("KMsurv bmt after platelets", sets[["KMsurv bmt after platelets"]](), c("g2", "z1", "z8"))
describe("KMsurv bmt after platelets", sets[["KMsurv bmt after platelets"]](), c("g2", "z1", "z8"), TRUE)
describe("Kersey", sets[["Kersey"]](), "autologous")
describe("EBMT", sets[["EBMT"]](), c("middle", "old", "prophylaxis", "mismatch"))
describe("EBMT", sets[["EBMT"]](), c("middle", "old", "prophylaxis", "mismatch"), TRUE)
describe("EBMT after recovery", sets[["EBMT after recovery"]](), c("middle", "old", "mismatch"))
describe("EBMT after recovery", sets[["EBMT after recovery"]](), c("middle", "old", "mismatch"), TRUE)
describe("6-MP", sets[["6-MP"]](), "placebo")
for (name in c("heavy ties", "late entry", "events at time 0", "nearly equal times"))
  for (s in c(FALSE, TRUE)) describe(name, hard[[name]], c("x", "w"), s)

firth("6-MP", sets[["6-MP"]](), "placebo")
firth("KMsurv bmt", sets[["KMsurv bmt"]](), c("g2", "z8"))
firth("late entry", hard[["late entry"]], c("x", "w"), TRUE)
firth("separated", hard[["separated"]], c("b", "w"))
firth("one event", hard[["one event"]], "w")

# Bootstrap: R draws the resamples, both fit them.
boot <- function(name, d, terms, times, stratified = FALSE) {
  set.seed(1)
  rows <- t(replicate(times, sample(nrow(d), replace = TRUE)))
  b <- apply(rows, 1, function(i) coef(fit(d[i, ], terms, stratified)))
  b <- if (is.matrix(b)) t(b) else matrix(b)
  case("bootstrap", name, "coxph on each resample",
       list(set = name, terms = I(terms), stratified = stratified, rows = rows - 1),
       setNames(as.list(c(t(b))), outer(terms, seq_len(times), paste, sep = ".")))
}
boot("6-MP", sets[["6-MP"]](), "placebo", 20)
boot("heavy ties", hard[["heavy ties"]], c("x", "w"), 20)
boot("heavy ties", hard[["heavy ties"]], c("x", "w"), 20, TRUE)
boot("KMsurv bmt", sets[["KMsurv bmt"]](), c("g2", "z8"), 20)
write_golden("cox", "survival")
