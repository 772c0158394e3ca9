# Golden values for tests/test_infant.py. From the repository: Rscript tests/golden/infant.R
source("tests/golden/golden.R")
suppressMessages(library(metafor))
suppressMessages(library(cmprsk))

# -- meta-regression: BCG trials by latitude and year, diuretics by an invented covariate, and the
# infant trials by calendar time
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
regress <- function(name, y, s, x) {
  for (kh in c(TRUE, FALSE)) {
    control <- list(threshold = 1e-13, maxiter = 10000)
    m <- rma.uni(y, sei = s, mods = as.matrix(x), method = "REML", test = if (kh) "knha" else "z", control = control)
    n <- rma.uni(y, sei = s, method = "REML", control = control)
    case("meta_regression", name, paste0("metafor::rma(mods, test = '", if (kh) "knha" else "z", "')"),
         list(effects = y, std_errors = s, covariates = as.list(x), knapp_hartung = kh),
         list(coef = as.numeric(m$b)[2], se = m$se[2], low = m$ci.lb[2], high = m$ci.ub[2], p = m$pval[2],
              intercept = as.numeric(m$b)[1], tau2 = m$tau2, tau2_without = n$tau2, q = m$QE, q_p = m$QEp), 1e-5)
  }
}
regress("BCG trials by latitude", as.numeric(bcg$yi), sqrt(bcg$vi), data.frame(latitude = bcg$ablat))
regress("BCG trials by latitude and year", as.numeric(bcg$yi), sqrt(bcg$vi),
        data.frame(latitude = bcg$ablat, year = bcg$year - 1960))
trials <- read.csv("data/published/infant_trials.csv", na.strings = "")
g <- function(p) log(-log(p))
z <- qnorm(.975)
s <- trials$survival_pct / 100
trials$g <- g(s)
trials$se <- ifelse(!is.na(trials$ci_low_pct), (g(trials$ci_low_pct / 100) - g(trials$ci_high_pct / 100)) / (2 * z),
             ifelse(!is.na(trials$se_pct), trials$se_pct / 100 / (s * -log(s)),
                    sqrt((1 - s) / (trials$n * s)) / -log(s)))
os <- trials[trials$role == "in" & trials$endpoint == "OS" & trials$years == 5, ]
regress("infant trials, OS at 5 years", os$g, os$se,
        data.frame(decade = ((os$start_year + os$end_year) / 2 - 2010) / 10))

# -- pools of infant trials on the log(-log) scale, wider of two intervals
for (k in list(c("EFS", 5), c("EFS", 6), c("OS", 5))) {
  d <- trials[trials$role == "in" & trials$endpoint == k[1] & trials$years == as.numeric(k[2]), ]
  fits <- lapply(c("z", "knha"), function(t) rma.uni(d$g, sei = d$se, method = "REML", test = t,
                                                     control = list(threshold = 1e-13, maxiter = 10000)))
  r <- fits[[which.max(sapply(fits, function(f) f$ci.ub - f$ci.lb))]]
  back <- function(x) exp(-exp(x))
  case("pool", paste(k, collapse = " at "), "metafor::rma, the wider of z and knha",
       list(endpoint = k[1], years = as.numeric(k[2])),
       list(value = back(as.numeric(r$b)), ci_low = back(r$ci.ub), ci_high = back(r$ci.lb), q_p = r$QEp), 1e-5)
}

# -- the blinatumomab pilot against its controls
d <- trials[trials$endpoint == "DFS" & trials$years == 4, ]
p <- d[d$role == "pilot", ]; q <- d[d$role == "control", ]
y <- p$g - q$g; se <- sqrt(p$se^2 + q$se^2)
case("hazard_ratio", "blinatumomab pilot, DFS at 4 years", "exp(difference of log(-log) survival)", list(years = 4),
     list(value = exp(y), ci_low = exp(y - z * se), ci_high = exp(y + z * se), p_value = 2 * pnorm(-abs(y / se)),
          exact_p = binom.test(5, 30, 1 - .44, alternative = "less")$p.value,
          needed = uniroot(function(w) pbinom(5, 30, .56 + w * (.22 - .56)) - .05, c(0, 1), tol = 1e-14)$root))

for (k in list(c("DFS", 2), c("OS", 2), c("OS", 4))) {
  d <- trials[trials$endpoint == k[1] & trials$years == as.numeric(k[2]), ]
  p <- d[d$role == "pilot", ]; q <- d[d$role == "control", ]
  y <- p$g - q$g; se <- sqrt(p$se^2 + q$se^2)
  case("hazard_ratio", paste("blinatumomab pilot,", k[1], "at", k[2], "years"), "exp(difference of log(-log) survival)",
       list(years = as.numeric(k[2]), endpoint = k[1]),
       list(value = exp(y), ci_low = exp(y - z * se), ci_high = exp(y + z * se), p_value = 2 * pnorm(-abs(y / se))))
}
# Four relapses, then a death, the other 25 followed; cmprsk's variance, log(-log) interval.
i <- timepoints(cuminc(c(1:5, rep(60, 25)), c(1, 1, 1, 1, 2, rep(0, 25))), 48)
f <- i$est[1, 1]; w <- sqrt(i$var[1, 1]) / (f * abs(log(f)))
o <- trials[trials$role == "control" & trials$endpoint == "DFS", ]
e <- (100 - o$survival_pct) / (o$survival_pct * (log(o$survival_pct / 100) * o$se)^2)
case("incidence", "blinatumomab pilot, incidence of relapse", "cmprsk::cuminc", list(relapses = 4L, deaths = 1L, n = 30L),
     list(value = f, ci_low = f^exp(z * w), ci_high = f^exp(-z * w), controls = max(e)))

# -- E-values, as VanderWeele and Ding define them
ev <- function(r) { r <- max(r, 1 / r); r + sqrt(r * (r - 1)) }
rr <- list(`risk-ratio` = identity, `odds-ratio` = sqrt,
           `hazard-ratio` = function(h) (1 - .5^sqrt(h)) / (1 - .5^sqrt(1 / h)))
for (e in list(list("risk-ratio", 3.9, 1.8, 8.7), list("odds-ratio", 2.05, 1.16, 3.64),
               list("hazard-ratio", .22, .09, .55), list("odds-ratio", 1.2, .8, 1.8), list("risk-ratio", .5, .3, .8))) {
  f <- rr[[e[[1]]]]; point <- f(e[[2]]); near <- if (point > 1) f(e[[3]]) else f(e[[4]])
  case("e_value", paste(e[[1]], e[[2]]), "r + sqrt(r (r - 1))",
       list(kind = e[[1]], value = e[[2]], low = e[[3]], high = e[[4]]),
       list(point = ev(point), bound = if ((point > 1) == (near > 1)) ev(near) else 1, risk_ratio = point), 1e-9)
}

# -- posteriors by R's adaptive quadrature
t3 <- array(c(3, 8, 8, 17, 12, 25, 7, 26, 16, 21, 11, 23, 16, 52, 2, 45), c(2, 2, 4))  # row = trial
lik <- function(theta, i) vapply(theta, function(t) {
  x <- t3[, , i]
  integrate(function(p) { p1 <- plogis(qlogis(p) + t)
    dbinom(x[1, 1], sum(x[1, ]), p1) * dbinom(x[2, 1], sum(x[2, ]), p) }, 0, 1, rel.tol = 1e-11, subdivisions = 400)$value
}, 0)
fine <- seq(-6, 6, by = .02)
product <- Reduce(`*`, lapply(1:4, function(i) lik(fine, i)))
posterior <- function(sd) {
  f <- splinefun(fine, product * dnorm(fine, 0, sd) / max(product))
  # In short pieces, so that the peak is not missed.
  area <- function(to) { cuts <- unique(c(seq(-6, to, by = .25), to))
    sum(vapply(seq_along(cuts)[-1], function(i) integrate(f, cuts[i - 1], cuts[i], rel.tol = 1e-10)$value, 0)) }
  total <- area(6)
  quantile <- function(u) exp(uniroot(function(t) area(t) / total - u, c(-2, 3), tol = 1e-12)$root)
  list(value = quantile(.5), ci_low = quantile(.025), ci_high = quantile(.975), above = 1 - area(0) / total)
}
for (sd in c(.35, 1)) {
  case("common", paste("Table 3, prior SD", sd), "integrate()", list(prior_sd = sd),
       posterior(sd), 1e-6)
}
# Both integrals as sums over a grid, which for such smooth functions are exact to ten digits.
step <- .05
theta <- seq(-9, 9, by = step)
all_lik <- vapply(1:4, function(i) lik(theta, i), theta)
b <- seq(-3.5, 3.5, by = step)
grid <- seq(-5, 5, by = step)
at <- function(x) round((x + 9) / step) + 1
w <- vapply(grid, function(d) dnorm(d, 0, 1) * sum(dnorm(b, 0, .5) * all_lik[at(b), 1] *
  all_lik[at(b + d), 2] * all_lik[at(b + d), 3] * all_lik[at(b + d), 4]), 0)
w <- w / sum(w)
case("control", "Table 3, bias SD 0.5", "sums over a grid of integrate()", list(bias_sd = .5),
     list(mean = sum(w * grid), sd = sqrt(sum(w * grid^2) - sum(w * grid)^2)), 1e-6)
case("higher", "16/18 v 52/97", "integrate()", list(k1 = 16L, n1 = 18L, k2 = 52L, n2 = 97L),
     list(value = integrate(function(p) dbeta(p, 53, 46) * pbeta(p, 17, 3, lower.tail = FALSE), 0, 1,
                            rel.tol = 1e-12)$value), 1e-8)

# -- four arms
arms <- c(.46, .23, .45, .78)
n <- c(42, 42, 20.5, 20.5)
y <- g(arms); v <- (1 - arms) / (n * arms * log(arms)^2)
psi <- (y[1] - y[2]) - (y[3] - y[4]); se <- sqrt(sum(v))
case("interaction", "four arms of Interfant-06", "delta method", list(survival = arms, n = n),
     list(value = exp(psi), ci_low = exp(psi - z * se), ci_high = exp(psi + z * se), p_value = 2 * pnorm(-abs(psi / se))))

write_golden("infant", c("metafor", "cmprsk"))
