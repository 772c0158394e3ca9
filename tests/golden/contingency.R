# Golden values for tests/test_contingency.py. From the repository: Rscript tests/golden/contingency.R
source("tests/golden/golden.R")
suppressMessages(library(metafor))

# -- proportions
mid_p <- function(k, n) {
  upper <- function(p) pbinom(k, n, p, lower.tail = FALSE) + dbinom(k, n, p) / 2
  c(if (k == 0) 0 else solve_for(function(p) upper(p) - .025, 0, 1),
    if (k == n) 1 else solve_for(function(p) upper(p) - .975, 0, 1))
}
sets <- list(list("Stutterheim table 3, MLL-10", 47, 75, .5), list("Stutterheim table 3, Interfant-06", 106, 217, .4),
             list("lineage switch at relapse, Lamble", 12, 166, .1), list("no event", 0, 10, .2),
             list("all events", 10, 10, .7), list("one patient", 1, 1, .5),
             list("clone size, Coorens example", 290, 231772, .0012))
for (s in sets) {
  k <- s[[2]]; n <- s[[3]]; null <- s[[4]]
  input <- list(k = k, n = n, null = null)
  b <- binom.test(k, n, null)
  case("proportion", s[[1]], "binom.test", c(input, method = "exact"),
       list(value = k / n, ci_low = b$conf.int[1], ci_high = b$conf.int[2], p_value = b$p.value))
  m <- mid_p(k, n)
  u <- pbinom(k, n, null, lower.tail = FALSE) + dbinom(k, n, null) / 2
  case("proportion", s[[1]], "uniroot on pbinom and dbinom", c(input, method = "mid-p"),
       list(ci_low = m[1], ci_high = m[2], p_value = min(1, 2 * min(u, 1 - u))))
  p <- suppressWarnings(prop.test(k, n, null, correct = FALSE))
  case("proportion", s[[1]], "prop.test(correct = FALSE)", c(input, method = "wilson"),
       list(ci_low = p$conf.int[1], ci_high = p$conf.int[2], p_value = p$p.value))
}

# -- 2 x 2: fisher.test stops its root search at about 1e-4, so its equations are solved here again.
exact_or <- function(a, b, c, d) {
  m <- a + b; n <- c + d; k <- a + c
  x <- max(0, k - n):min(k, m)
  w <- dhyper(x, m, n, k, log = TRUE)
  prob <- function(t) { v <- exp(w + x * t - max(w + x * t)); v / sum(v) }
  root <- function(f) exp(solve_for(f, -30, 30))
  list(value = if (a == min(x)) 0 else if (a == max(x)) NA else root(function(t) sum(x * prob(t)) - a),
       ci_low = if (a == min(x)) 0 else root(function(t) sum(prob(t)[x >= a]) - .025),
       ci_high = if (a == max(x)) NA else root(function(t) sum(prob(t)[x <= a]) - .025))
}
loose <- function(f) {
  v <- c(f$estimate, f$conf.int); v <- v[is.finite(v) & v > 0]
  max(1e-3, 1.3e-4 * max(v, 1 / v))
}
tables <- list(list("Stutterheim table 3, 0-2 months", 3, 8, 8, 17), list("Stutterheim table 3, 2-4 months", 12, 7, 25, 26),
               list("Stutterheim table 3, 4-6 months", 16, 11, 21, 23), list("Stutterheim table 3, 6-12 months", 16, 2, 52, 45),
               list("Stutterheim table 3, all ages", 47, 28, 106, 111), list("Hartmann, clusters 1 and 3, ends", 12, 1, 1, 20),
               list("zero cell", 0, 5, 7, 3), list("zero cell, infinite", 5, 0, 3, 7), list("two zero cells", 4, 0, 0, 6))
for (t in tables) {
  input <- list(a = t[[2]], b = t[[3]], c = t[[4]], d = t[[5]])
  x <- matrix(unlist(input), 2, byrow = TRUE)
  f <- fisher.test(x)
  case("odds_ratio", t[[1]], "fisher.test", c(input, method = "exact"),
       list(value = f$estimate, ci_low = f$conf.int[1], ci_high = f$conf.int[2]), loose(f),
       "fisher.test leaves uniroot at its default, an error of 1.2e-4 in the odds or their inverse")
  case("odds_ratio", t[[1]], "fisher.test, equations solved to 1e-15", c(input, method = "exact"),
       c(do.call(exact_or, unname(input)), p_value = f$p.value))
  g <- rma.uni(measure = "OR", ai = t[[2]], bi = t[[3]], ci = t[[4]], di = t[[5]], method = "FE")
  case("odds_ratio", t[[1]], "metafor::rma(measure = 'OR')", c(input, method = "wald"),
       list(value = exp(g$b[1]), ci_low = exp(g$ci.lb), ci_high = exp(g$ci.ub), p_value = g$pval))
  q <- suppressWarnings(chisq.test(x)); u <- suppressWarnings(chisq.test(x, correct = FALSE))
  rows <- list(I(x[1, ]), I(x[2, ]))
  case("chi_squared", t[[1]], "chisq.test", list(table = rows, correction = TRUE),
       list(value = q$p.value, statistic = q$statistic, df = q$parameter))
  case("chi_squared", t[[1]], "chisq.test(correct = FALSE)", list(table = rows, correction = FALSE),
       list(value = u$p.value, statistic = u$statistic, df = u$parameter))
}

# -- r x c
d <- chiaretti()
big <- list("Hartmann clusters" = matrix(c(12, 5, 1, 1, 7, 20), 2, byrow = TRUE),
            "Chiaretti stage by lesion" = unclass(table(d$stage, d$molecular_biology)),
            "Chiaretti stage by sex" = unclass(table(d$stage, d$sex)),
            "job satisfaction (fisher.test help)" = matrix(c(1, 2, 1, 0, 3, 3, 6, 1, 10, 10, 14, 9, 6, 7, 12, 11), 4),
            "zero cells" = matrix(c(3, 0, 0, 0, 4, 0, 1, 0, 2), 3, byrow = TRUE))
for (n in names(big)) {
  x <- unname(big[[n]]); x <- x[rowSums(x) > 0, colSums(x) > 0]
  rows <- lapply(seq_len(nrow(x)), function(i) I(as.vector(x[i, ])))
  case("fisher_exact", n, "fisher.test", list(table = rows),
       list(value = fisher.test(x, workspace = 2e7)$p.value))
  u <- suppressWarnings(chisq.test(x))
  case("chi_squared", n, "chisq.test", list(table = rows),
       list(value = u$p.value, statistic = u$statistic, df = u$parameter))
}

# -- differences: the restricted proportions are found by maximising the likelihood, not by the cubic
restricted <- function(k1, n1, k2, n2, delta) {
  # Where the score of the likelihood crosses zero; no library's closed form is copied.
  part <- function(k, p) if (k == 0) 0 else k / p
  score <- function(p) part(k1, p + delta) - part(n1 - k1, 1 - p - delta) + part(k2, p) - part(n2 - k2, 1 - p)
  lo <- max(0, -delta); hi <- min(1, 1 - delta); e <- (hi - lo) * 1e-13
  if (score(lo + e) <= 0) return(lo); if (score(hi - e) >= 0) return(hi)
  uniroot(score, c(lo + e, hi - e), tol = 1e-16, maxiter = 10000)$root
}
mn_z <- function(k1, n1, k2, n2, delta) {
  p2 <- restricted(k1, n1, k2, n2, delta); p1 <- p2 + delta
  v <- (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * (n1 + n2) / (n1 + n2 - 1)
  (k1 / n1 - k2 / n2 - delta) / sqrt(v)
}
unconditional <- function(k1, n1, k2, n2, mid) {
  g <- expand.grid(x1 = 0:n1, x2 = 0:n2)
  here <- which(g$x1 == k1 & g$x2 == k2)
  tail <- function(delta, side) {
    z <- side * mapply(function(a, b) { s <- mn_z(a, n1, b, n2, delta); if (abs(a / n1 - b / n2 - delta) < 1e-12) 0 else s }, g$x1, g$x2)
    w <- ifelse(abs(z - z[here]) <= 1e-7, if (mid) .5 else 1, as.numeric(z > z[here]))
    p <- seq(max(0, -delta), min(1, 1 - delta), length.out = 1001)
    f <- function(q) sum(w * dbinom(g$x1, n1, pmin(pmax(q + delta, 0), 1)) * dbinom(g$x2, n2, q))
    v <- vapply(p, f, 0); i <- which.max(v)
    o <- optimize(f, p[c(max(i - 1, 1), min(i + 1, length(p)))], maximum = TRUE, tol = 1e-10)
    max(v, o$objective)
  }
  bound <- function(side) {
    inner <- k1 / n1 - k2 / n2; outer <- if (side > 0) -1 else 1
    for (i in 1:24) { m <- (inner + outer) / 2; if (tail(m, side) > .025) inner <- m else outer <- m }
    (inner + outer) / 2
  }
  list(ci_low = bound(1), ci_high = bound(-1), p_value = min(1, 2 * min(tail(0, 1), tail(0, -1))))
}
pairs <- list(list("Stutterheim table 3, all ages", 47, 75, 106, 217), list("Stutterheim table 3, 6-12 months", 16, 18, 52, 97),
              list("no event in one group", 0, 10, 5, 12), list("all and none", 6, 6, 0, 5))
for (p in pairs) {
  k1 <- p[[2]]; n1 <- p[[3]]; k2 <- p[[4]]; n2 <- p[[5]]; dif <- k1 / n1 - k2 / n2
  input <- list(k1 = k1, n1 = n1, k2 = k2, n2 = n2)
  w1 <- suppressWarnings(prop.test(k1, n1, correct = FALSE)$conf.int); w2 <- suppressWarnings(prop.test(k2, n2, correct = FALSE)$conf.int)
  case("risk_difference", p[[1]], "prop.test(correct = FALSE) of each group, Newcombe's formula", c(input, method = "newcombe"),
       list(value = dif, ci_low = dif - sqrt((k1 / n1 - w1[1])^2 + (w2[2] - k2 / n2)^2),
            ci_high = dif + sqrt((w1[2] - k1 / n1)^2 + (k2 / n2 - w2[1])^2),
            p_value = suppressWarnings(prop.test(c(k1, k2), c(n1, n2), correct = FALSE)$p.value)))
  z <- qnorm(.975); edge <- 1 - 1e-9
  low <- if (mn_z(k1, n1, k2, n2, -edge) <= z) -1 else solve_for(function(t) mn_z(k1, n1, k2, n2, t) - z, -edge, dif - 1e-9)
  high <- if (mn_z(k1, n1, k2, n2, edge) >= -z) 1 else solve_for(function(t) mn_z(k1, n1, k2, n2, t) + z, min(dif + 1e-9, edge), edge)
  case("risk_difference", p[[1]], "uniroot on the score statistic, proportions by uniroot", c(input, method = "miettinen-nurminen"),
       list(ci_low = low, ci_high = high, p_value = 2 * pnorm(-abs(mn_z(k1, n1, k2, n2, 0)))))
}
for (p in list(list("no event in one group", 0, 10, 5, 12), list("small groups", 7, 9, 2, 8))) {
  input <- list(k1 = p[[2]], n1 = p[[3]], k2 = p[[4]], n2 = p[[5]])
  for (m in c(FALSE, TRUE))
    case("risk_difference", p[[1]], "all tables, nuisance proportion on a grid",
         c(input, method = if (m) "mid-p" else "exact"), do.call(unconditional, c(unname(input), m)), 1e-4,
         "the nuisance proportion is searched on a grid")
}

# -- strata
stutterheim <- list(c(3, 8, 8, 17), c(12, 7, 25, 26), c(16, 11, 21, 23), c(16, 2, 52, 45))
ucb <- lapply(1:6, function(i) as.vector(t(UCBAdmissions[, , i])))
strata <- list("Stutterheim table 3 by age" = stutterheim, "Berkeley admissions" = ucb,
               "zero cells" = list(c(0, 5, 3, 4), c(2, 6, 1, 9), c(4, 0, 5, 3)),
               "a stratum with an empty margin" = c(stutterheim[2:3], list(c(0, 6, 0, 9))))
for (n in names(strata)) {
  s <- strata[[n]]
  x <- array(unlist(lapply(s, function(v) matrix(v, 2, byrow = TRUE))), c(2, 2, length(s)))
  informative <- x[, , apply(x, 3, function(m) all(rowSums(m) > 0, colSums(m) > 0)), drop = FALSE]
  m <- mantelhaen.test(informative, correct = FALSE); mc <- mantelhaen.test(informative)
  v <- do.call(rbind, s); v <- v[(v[, 1] + v[, 3] > 0) & (v[, 2] + v[, 4] > 0), ]
  r <- rma.mh(ai = v[, 1], bi = v[, 2], ci = v[, 3], di = v[, 4], measure = "OR", correct = FALSE)
  case("mantel_haenszel", n, "mantelhaen.test, metafor::rma.mh",
       list(tables = lapply(s, function(v) list(I(v[1:2]), I(v[3:4])))),
       list(value = m$estimate, ci_low = m$conf.int[1], ci_high = m$conf.int[2], cmh = m$statistic,
            cmh_p = m$p.value, cmh_corrected = mc$statistic, cmh_corrected_p = mc$p.value,
            breslow_day = r$BD, breslow_day_p = r$BDp, tarone = r$TA, tarone_p = r$TAp))
}

# -- trends and pairs
trends <- list(list("Stutterheim table 3, MLL-10", c(3, 12, 16, 16), c(11, 19, 27, 18), 0:3),
               list("Stutterheim table 3, Interfant-06", c(8, 25, 21, 52), c(25, 51, 44, 97), 0:3),
               list("prop.test help, smokers, uneven scores", c(83, 90, 129, 70), c(86, 93, 136, 82), c(0, 1, 3, 7)),
               list("no event in a group", c(0, 1, 4), c(8, 9, 7), 1:3))
for (t in trends) {
  p <- suppressWarnings(prop.trend.test(t[[2]], t[[3]], t[[4]]))
  case("cochran_armitage", t[[1]], "prop.trend.test", list(k = t[[2]], n = t[[3]], scores = t[[4]]),
       list(value = p$p.value, chi_squared = p$statistic))
}
for (t in list(list("approval ratings (mcnemar.test help)", 150, 86), list("CDKN2A lost or gained at relapse", 1, 6), list("all one way", 0, 5))) {
  b <- t[[2]]; c <- t[[3]]; e <- binom.test(b, b + c)
  odds <- function(p) p / (1 - p)
  case("mcnemar", t[[1]], "binom.test", list(b = b, c = c, method = "exact"),
       list(value = b / c, ci_low = odds(e$conf.int[1]), ci_high = odds(e$conf.int[2]), p_value = e$p.value))
  m <- mid_p(b, b + c)
  case("mcnemar", t[[1]], "binom.test less the probability of the split", list(b = b, c = c, method = "mid-p"),
       list(ci_low = odds(m[1]), ci_high = odds(m[2]), p_value = e$p.value - dbinom(b, b + c, .5)))
  q <- mcnemar.test(matrix(c(10, c, b, 10), 2), correct = FALSE)
  case("mcnemar", t[[1]], "mcnemar.test(correct = FALSE)", list(b = b, c = c, method = "chi-squared"),
       list(statistic = q$statistic, p_value = q$p.value))
}
write_golden("contingency", "metafor")
