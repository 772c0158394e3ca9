# Golden values for tests/test_clone_size.py. Run: Rscript tests/golden/clone_size.R
# Counts are written here; nothing is read.
suppressMessages({library(VGAM); library(jsonlite)})

sets <- list(
  varied = list(k = c(0, 3, 1, 0, 7, 2, 12, 0, 1, 5, 0, 0, 4, 9, 2, 1, 0, 3, 15, 6),
                n = c(80, 95, 60, 101, 120, 77, 130, 44, 90, 100, 85, 66, 99, 140, 70, 88, 91, 105,
                      150, 112)),
  half = list(k = c(40, 52, 61, 30, 47, 70, 55, 38, 49, 44, 66, 25),
              n = c(100, 98, 103, 90, 97, 110, 101, 88, 95, 99, 105, 80)),
  rare = list(k = c(rep(0, 150), rep(1, 30), 2, 2, 3, 6, 9), n = c(rep(100, 100), rep(60, 85)))
)

fit_of <- function(s) {
  fit <- vglm(cbind(s$k, s$n - s$k) ~ 1, betabinomial, data = data.frame(k = s$k, n = s$n),
              crit = "loglikelihood", epsilon = 1e-12, maxit = 500)
  loglik <- function(mu, rho) sum(dbetabinom(s$k, s$n, prob = mu, rho = rho, log = TRUE))
  # VGAM stops a little short of the maximum: it is finished by optim from there.
  start <- c(qlogis(Coef(fit)[["mu"]]), log(Coef(fit)[["rho"]]))
  top <- optim(start, function(t) -loglik(plogis(t[1]), exp(t[2])), method = "BFGS",
               control = list(reltol = 1e-15, maxit = 2000))
  profile <- function(m) -optimize(function(r) -loglik(plogis(m), exp(r)), c(-16, -0.06),
                                   tol = 1e-10)$objective
  limit <- -top$value - qchisq(0.95, 1) / 2
  root <- function(a, b) plogis(uniroot(function(m) profile(m) - limit, c(a, b), tol = 1e-11)$root)
  null <- sum(dbinom(s$k, s$n, sum(s$k) / sum(s$n), log = TRUE))
  lr <- 2 * (-top$value - null)
  list(k = s$k, n = s$n, vgam_mu = Coef(fit)[["mu"]], vgam_rho = Coef(fit)[["rho"]],
       vgam_loglik = logLik(fit), mu = plogis(top$par[1]), rho = exp(top$par[2]),
       loglik = -top$value, low = root(top$par[1] - 4, top$par[1]),
       high = root(top$par[1], top$par[1] + 4), lr = lr,
       p = pchisq(lr, 1, lower.tail = FALSE) / 2)
}

tails <- list(c(290, 231772, 1.6e-4), c(287, 226112, 1.6e-4), c(9, 60000, 1.6e-4),
              c(3, 60000, 1.6e-4), c(1, 12, 0.01), c(5000, 100000, 1e-4))
binomial <- lapply(tails, function(x) {
  k <- x[1]; n <- x[2]
  list(k = k, n = n, e = x[3],
       log10 = pbinom(k - 1, n, x[3], lower.tail = FALSE, log.p = TRUE) / log(10),
       low = qbeta(0.025, k, n - k + 1), high = qbeta(0.975, k + 1, n - k))
})
logsum <- function(x) max(x) + log(sum(exp(x - max(x))))
overdispersed <- lapply(list(c(40, 5000, 1e-3, 1e-3), c(12, 800, 0.004, 0.01), c(2, 300, 0.02, 0.05)),
  function(x) list(k = x[1], n = x[2], e = x[3], rho = x[4],
                   log = logsum(dbetabinom(x[1]:x[2], x[2], prob = x[3], rho = x[4], log = TRUE))))

# The sum of independent beta-binomial counts, by plain convolution.
sum_of <- function(k, depth, e, rho) {
  f <- 1
  for (d in depth) {
    g <- dbetabinom(0:d, d, prob = e, rho = rho)
    f <- rowSums(sapply(seq_along(g), function(j) c(rep(0, j - 1), f * g[j], rep(0, length(g) - j))))
  }
  log(sum(f[(k + 1):length(f)]))
}
sums <- lapply(list(list(k = 6, depth = rep(30, 12), e = 0.002, rho = 0.05),
                    list(k = 20, depth = c(10, 25, 40, 40, 55), e = 0.03, rho = 0.02),
                    list(k = 1, depth = c(3, 4), e = 0.2, rho = 0.3)),
               function(x) c(x, list(log = sum_of(x$k, x$depth, x$e, x$rho))))

# Decision and detection by searching counts and rates.
design <- lapply(list(c(231800, 1.6e-4, 0.001, 0.95), c(1000, 1.6e-4, 0.001, 0.95),
                      c(50000, 1e-6, 0.01, 0.8)), function(x) {
  n <- x[1]; e <- x[2]
  counts <- 1:5000
  crit <- counts[which(pbinom(counts - 1, n, e, lower.tail = FALSE) <= x[3])[1]]
  q <- uniroot(function(q) pbinom(crit - 1, n, q, lower.tail = FALSE) - x[4], c(e, 0.5),
               tol = 1e-15)$root
  list(reads = n, e = e, alpha = x[3], power = x[4], critical = crit,
       share = 2 * (q - e) / (1 - 2 * e))
})
needed <- lapply(list(c(0.1, 1.6e-4), c(0.01, 1.6e-4), c(0.0026, 1.6e-4), c(0.01, 1e-6)), function(x) {
  v <- x[1] / 2; e <- x[2]; q <- v * (1 - e) + (1 - v) * e
  n <- 1:20000
  crit <- qbinom(0.001, n, e, lower.tail = FALSE) + 1
  list(share = x[1], e = e, reads = n[which(pbinom(crit - 1, n, q, lower.tail = FALSE) >= 0.95)[1]])
})
# A tube of 2,000 cells: the number of the clone's is Poisson.
tube <- sapply(c(0.0005, 0.001, 0.002), function(f) {
  m <- 0:60
  crit <- qbinom(0.001, 1e5, 1.6e-4, lower.tail = FALSE) + 1
  v <- m / 4000
  sum(dpois(m, 2000 * f) * pbinom(crit - 1, 1e5, v * (1 - 1.6e-4) + (1 - v) * 1.6e-4,
                                  lower.tail = FALSE))
})
write_json(list(R = R.version.string, VGAM = as.character(packageVersion("VGAM")),
                fits = lapply(sets, fit_of), binomial = binomial, overdispersed = overdispersed,
                sums = sums, design = design, needed = needed, tube = tube),
           file.path("tests", "golden", "clone_size.json"), auto_unbox = TRUE, digits = NA, pretty = 1)
