# Golden values for tests/test_dose_response.py and its neighbours on imputation and clusters. From the repository: Rscript tests/golden/dose_response.R
source("tests/golden/golden.R")
suppressMessages(library(mice))

# Four-parameter curve: nls on the same parameters and, where it converges, SSfpl. drc is not in
# Debian; nls minimises the same sum of squares, its standard errors are drc's.
curve4 <- function(x, c, d, b, m) c + (d - c) / (1 + 10^(b * (x - m)))
dose <- rep(10^(-1:4), each = 3)
set.seed(11)
plates <- list(
  "eighteen wells, six doses" = list(dose = dose, response = round(curve4(log10(dose), .15, 1.02, .9, 1.3) + rnorm(18, 0, .04), 4)),
  "a shallow curve" = list(dose = dose, response = round(curve4(log10(dose), .3, .95, .6, 1.8) + rnorm(18, 0, .02), 4)))
# The DNase ELISA of R: densities rise with concentration, so their complement falls.
dn <- DNase[DNase$Run == "1", ]
plates[["DNase run 1 (datasets), as 2 - density"]] <- list(dose = dn$conc, response = 2 - dn$density)
# nls stops when a relative offset is small and cannot be made to stop later than rounding allows,
# so its solution is carried on by Gauss-Newton steps until they are of no size.
slopes <- deriv(~ c + (d - c) / (1 + 10^(b * (x - m))), c("c", "d", "b", "m"), function(x, c, d, b, m) NULL)
fitted_curve <- function(x, y, start, free) {
  form <- function(k) { f <- slopes(x, k[["c"]], k[["d"]], k[["b"]], k[["m"]]); list(y = as.vector(f), J = attr(f, "gradient")[, free]) }
  fixed <- unlist(start)[setdiff(c("c", "d", "b", "m"), free)]
  formula <- if (length(fixed)) y ~ curve4(x, c, 1, b, m) else y ~ curve4(x, c, d, b, m)
  k <- unlist(start); k[free] <- coef(nls(formula, start = start[free], control = nls.control(tol = 1e-4, maxiter = 500, minFactor = 1e-9)))[free]
  for (i in 1:200) { f <- form(k); k[free] <- k[free] + qr.coef(qr(f$J), y - f$y) }
  f <- form(k); df <- length(y) - length(free); s <- sqrt(sum((y - f$y)^2) / df)
  stopifnot(max(abs(crossprod(f$J, y - f$y))) < 1e-10)
  v <- s^2 * solve(crossprod(f$J)); list(k = k, se = sqrt(diag(v)), v = v, sigma = s, df = df, rss = sum((y - f$y)^2))
}
for (name in names(plates)) {
  p <- plates[[name]]; x <- log10(p$dose); y <- p$response; all <- c("c", "d", "b", "m")
  start <- list(c = min(y), d = max(y), b = 1, m = if (grepl("DNase", name)) .6 else 1.5)
  fit <- fitted_curve(x, y, start, all); k <- fit$k; se <- fit$se
  case("four_parameter", name, "nls(c + (d - c) / (1 + 10^(b (x - m)))), carried on", p,
       list(bottom = k["c"], top = k["d"], slope = k["b"], midpoint = k["m"], bottom_se = se["c"], top_se = se["d"],
            slope_se = se["b"], midpoint_se = se["m"], residual_error = fit$sigma))
  # Areas by quadrature; delta method with their derivatives by differences.
  over <- function(k) integrate(function(u) curve4(u, k[["c"]], k[["d"]], k[["b"]], k[["m"]]), min(x), max(x), rel.tol = 1e-13)$value
  mean_of <- function(k) over(k) / diff(range(x)); h <- 1e-5
  g <- sapply(all, function(i) { u <- k; u[i] <- u[i] + h; w <- k; w[i] <- w[i] - h; (mean_of(u) - mean_of(w)) / (2 * h) })
  half <- qt(.975, fit$df) * sqrt(drop(t(g) %*% fit$v %*% g))
  case("areas", name, "integrate(), delta method", p, list(area = over(k), mean = mean_of(k), low = mean_of(k) - half, high = mean_of(k) + half))
  if (any(duplicated(x))) {
    pure <- lm(y ~ factor(x)); df1 <- fit$df - df.residual(pure)
    f <- (fit$rss - deviance(pure)) / df1 / (deviance(pure) / df.residual(pure))
    case("lack_of_fit", name, "anova of nls in lm(y ~ factor(x))", p, list(statistic = f, value = pf(f, df1, df.residual(pure), lower.tail = FALSE)))
  }
  if (grepl("eighteen", name)) {
    three <- fitted_curve(x, y, modifyList(start, list(d = 1)), c("c", "b", "m"))
    case("three_parameter", name, "nls with the top held at 1, carried on", p,
         list(bottom = three$k["c"], slope = three$k["b"], midpoint = three$k["m"], bottom_se = three$se["c"], midpoint_se = three$se["m"]))
  }
}

# Rubin's rules.
for (n in c(Inf, 60, 12)) for (s in list(list(c(1, 1.2, .9), c(.1, .12, .1)), list(c(.31, .28, .35, .30, .27), rep(.004, 5)), list(c(2, 2, 2), c(1, 1.1, 1.2)))) {
  r <- pool.scalar(s[[1]], s[[2]], n = n, k = 1)
  case("rubin", paste(length(s[[1]]), "imputations, n =", n), "mice::pool.scalar", list(q = s[[1]], u = s[[2]], df = if (is.finite(n)) n - 1 else NA),
       list(estimate = r$qbar, within = r$ubar, between = r$b, total = r$t, df = r$df, fraction_missing = r$fmi)[if (r$b == 0 && !is.finite(n)) 1:4 else 1:6],
       if (r$b == 0) 2e-4 else 1e-6, if (r$b == 0) "mice takes the share of missing information for 1e-4 at least" else NULL)
}
# Chained equations cannot agree draw by draw: pooled over 200 imputations they do to within
# simulation error. Missing completely at random and at random (by x), half of y.
set.seed(5); n <- 200; x <- rnorm(n); z <- .6 * x + rnorm(n, 0, .8); y <- round(.5 * x - .4 * z + rnorm(n, 0, .7), 6)
x <- round(x, 6); z <- round(z, 6); gone <- runif(n) < plogis(1.2 * x); y[gone] <- NA; z[runif(n) < .2] <- NA
frame <- data.frame(x, z, y)
imp <- mice(frame, m = 200, maxit = 10, method = "pmm", printFlag = FALSE, seed = 1)
q <- sapply(1:200, function(i) { k <- complete(imp, i); c(1 + mean(k$y), cor(k$x, k$y), cor(k$z, k$y, method = "spearman"), sd(k$y)) })
case("chained_equations", "200 patients, half of y missing by x", "mice(method = 'pmm', m = 200, maxit = 10)", as.list(frame),
     list(one_and_mean = mean(q[1, ]), correlation = mean(q[2, ]), spearman = mean(q[3, ]), sd = mean(q[4, ])), .05, "two simulations, 200 imputations each")
case("between_imputations", "200 patients, half of y missing by x", "mice(method = 'pmm', m = 200, maxit = 10)", as.list(frame),
     list(mean = sd(q[1, ]), correlation = sd(q[2, ])), .2, "a spread of 200 draws is known to 10%")

# Clusters.
m <- as.matrix(scale(iris[1:4]))
for (k in c(2, 3, 5)) {
  tree <- hclust(dist(m), "ward.D2")
  case("ward", paste("iris,", k, "clusters"), "cutree(hclust(dist(scale(x)), 'ward.D2'))", list(k = k), list(labels = cutree(tree, k)))
}
r <- mclust::adjustedRandIndex(cutree(hclust(dist(m), "ward.D2"), 3), iris$Species)
case("adjusted_rand", "iris, three clusters v species", "mclust::adjustedRandIndex",
     list(a = cutree(hclust(dist(m), "ward.D2"), 3), b = as.integer(iris$Species)), list(value = r))
write_golden("dose_response", c("mice", "mclust"))
