# Golden values for tests/test_clone_filters.py. From the repository: Rscript tests/golden/clone_filters.R
source("tests/golden/golden.R")
set.seed(8)
reads <- matrix(rpois(60 * 4, 80), 60)
share <- matrix(.5, 60, 4)
share[21:40, ] <- matrix(rep(c(.45, .3, .05, 0), each = 20), 20)
share[41:60, ] <- .03
alt <- matrix(rbinom(240, reads, share), 60)
reads[5, ] <- 0; alt[5, ] <- 0; reads[25, 3] <- 0; alt[25, 3] <- 0
rows <- function(m) lapply(seq_len(nrow(m)), function(i) m[i, ])
K <- rowSums(alt); N <- rowSums(reads)
p <- ifelse(N > 0, mapply(function(k, n) if (n > 0) binom.test(k, n, .5, alternative = "less")$p.value else 1, K, N), 1)
q <- rep(1, 60); q[N > 0] <- p.adjust(p[N > 0], "BH")
case("germline", "simulated", "binom.test(k, n, 0.5, 'less'); p.adjust('BH')",
     list(alt = rows(alt), depth = rows(reads)), list(p = p, adjusted = q), 1e-9)

# Beta-binomial by R's own lbeta; the grid of the published filter, at the pooled mean.
ll <- function(k, n, mu, rho) {
  a <- mu * (1 - rho) / rho; b <- (1 - mu) * (1 - rho) / rho
  lchoose(n, k) + lbeta(k + a, n - k + b) - lbeta(a, b)
}
grid <- 10^seq(-6, -0.05, by = 0.05)
rho <- sapply(seq_len(60), function(i) {
  if (K[i] == 0 || K[i] == N[i] || sum(reads[i, ] > 0) < 2) return(NA)
  grid[which.max(sapply(grid, function(r) sum(ll(alt[i, ], reads[i, ], K[i] / N[i], r))))]
})
case("site_rho", "simulated", "which.max over the grid of sum(lbeta terms)",
     list(alt = rows(alt), depth = rows(reads)), list(rho = rho), 1e-9)
case("log_pmf", "beta-binomial", "lchoose + lbeta", list(k = c(0, 3, 50, 80), n = c(80, 80, 100, 80),
     mean = c(.02, .1, .5, .9), rho = c(.001, .01, .3, 1e-6)),
     list(value = ll(c(0, 3, 50, 80), c(80, 80, 100, 80), c(.02, .1, .5, .9), c(.001, .01, .3, 1e-6))), 1e-8)
f <- rbeta(400, .5 * 99, .5 * 99)
n2 <- rpois(400, 90); k2 <- rbinom(400, n2, f)
total <- function(x) sum(ll(k2, n2, .5, 10^x))
best <- optimize(total, c(-6, log10(.9)), maximum = TRUE, tol = 1e-10)
cut <- best$objective - qchisq(.95, 1) / 2
lo <- uniroot(function(x) total(x) - cut, c(-5, best$maximum), tol = 1e-10)$root
hi <- uniroot(function(x) total(x) - cut, c(best$maximum, -.2), tol = 1e-10)$root
case("common_rho", "simulated", "optimize; uniroot of the likelihood ratio", list(alt = k2, depth = n2),
     list(value = 10^best$maximum, ci_low = 10^lo, ci_high = 10^hi), 1e-4)
write_golden("clone_filters")
