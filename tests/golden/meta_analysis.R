# Golden values for tests/test_meta_analysis.py. From the repository: Rscript tests/golden/meta_analysis.R
source("tests/golden/golden.R")
suppressMessages({library(metafor); library(lme4)})

pool <- function(name, y, s, kind, ratio, tolerance = 1e-6) {
  show <- if (ratio) exp else identity
  for (method in c("REML", "DL")) for (kh in c(TRUE, FALSE)) {
    control <- if (method == "REML") list(threshold = 1e-13, maxiter = 10000) else list()
    r <- rma.uni(y, sei = s, method = method, test = if (kh) "knha" else "z", control = control)
    f <- rma.uni(y, sei = s, method = "FE")
    p <- predict(r)
    h <- confint(r, control = list(tol = 1e-13, tau2.max = 1e4, maxiter = 100000))$random
    # confint() gives I2 from its own interval of tau2, in per cent.
    case("random_effects", name, paste0("metafor::rma(method = '", method, "', test = '", if (kh) "knha" else "z", "')"),
         list(effects = y, std_errors = s, method = method, knapp_hartung = kh, kind = kind),
         list(value = show(r$b[1]), ci_low = show(r$ci.lb), ci_high = show(r$ci.ub), p_value = r$pval,
              tau2 = r$tau2, i2 = r$I2 / 100, q = r$QE, q_p = r$QEp, tau2_low = h["tau^2", 2],
              tau2_high = h["tau^2", 3], i2_low = h["I^2(%)", 2] / 100, i2_high = h["I^2(%)", 3] / 100,
              prediction_low = show(p$pi.lb), prediction_high = show(p$pi.ub),
              fixed = show(f$b[1]), fixed_low = show(f$ci.lb), fixed_high = show(f$ci.ub), fixed_p = f$pval),
         if (method == "REML") 1e-5 else tolerance)
  }
}
bcg <- escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
pool("BCG vaccine trials", as.numeric(bcg$yi), sqrt(bcg$vi), "risk-ratio", TRUE)
pe <- escalc(measure = "OR", n1i = pre.nti, n2i = pre.nci, ai = pre.xti, ci = pre.xci, data = dat.collins1985b)
pool("diuretics in pregnancy", as.numeric(pe$yi), sqrt(pe$vi), "odds-ratio", TRUE)

# IKZF1 deletion: hazard ratios implied by survival at one time, in-pool arms with an interval or SE.
arms <- read.csv("data/published/ikzf1_arms.csv")
arms <- arms[arms$role == "in" & arms$arm %in% c("del", "wt"), ]
loglog <- function(p) log(-log(p / 100))
arms$g <- loglog(arms$estimate_pct)
arms$se <- with(arms, ifelse(!is.na(ci_low_pct), (loglog(ci_low_pct) - loglog(ci_high_pct)) / (2 * qnorm(.975)),
                             se_pct / (estimate_pct * -log(estimate_pct / 100))))
wide <- merge(arms[arms$arm == "del", ], arms[arms$arm == "wt", ], by = c("study", "endpoint"))
wide <- wide[!is.na(wide$se.x) & !is.na(wide$se.y), ]
wide <- wide[!duplicated(wide$study), ]
y <- wide$g.x - wide$g.y; s <- sqrt(wide$se.x^2 + wide$se.y^2)
pool("IKZF1 deletion, survival arms with an error", y, s, "hazard-ratio", TRUE)
pool("identical effects", c(.5, .5, .5), c(.2, .3, .25), "difference", FALSE)
pool("tau2 = 0", c(.50, .52, .47, .55), c(.2, .3, .25, .4), "hazard-ratio", TRUE)
pool("two studies", c(.2, 1.1), c(.2, .3), "difference", FALSE)

one <- rma.uni(.5, sei = .2, method = "FE")
case("random_effects", "one study", "metafor::rma(method = 'FE')",
     list(effects = I(.5), std_errors = I(.2), method = "REML", knapp_hartung = TRUE, kind = "hazard-ratio"),
     list(value = exp(.5), ci_low = exp(one$ci.lb), ci_high = exp(one$ci.ub), p_value = one$pval, tau2 = NA, prediction_low = NA))

for (kh in c(TRUE, FALSE)) {
  g <- lapply(split(bcg, bcg$alloc), function(d) rma.uni(d$yi, d$vi, method = "REML", test = if (kh) "knha" else "z",
                                                        control = list(threshold = 1e-13, maxiter = 10000)))
  b <- rma.uni(vapply(g, function(m) m$b[1], 0), sei = vapply(g, function(m) m$se, 0), method = "FE")
  case("subgroup_test", "BCG trials by allocation", "metafor::rma in each group, then method = 'FE'",
       list(effects = as.numeric(bcg$yi), std_errors = sqrt(bcg$vi), groups = bcg$alloc, knapp_hartung = kh),
       list(value = b$QEp, statistic = b$QE, df = b$k - 1), 1e-5)
}

# -- effects from print
z <- qnorm(.975)
case("log_hr_from_ci", "rare IKZF1 deletions, Boer 2016", "arithmetic", list(hr = 1.8, low = 1.4, high = 2.3),
     list(value = log(1.8), std_error = (log(2.3) - log(1.4)) / (2 * z)))
case("log_hr_from_p", "GIMEMA 2009", "arithmetic", list(p = .02, hr = 3.2),
     list(value = log(3.2), std_error = log(3.2) / qnorm(.99)))
v <- 60 * 62 * 323 / 385^2
case("log_hr_from_p", "P, events and arms", "arithmetic", list(p = .001, n_events = 60, n_exposed = 62, n_reference = 323),
     list(value = qnorm(.9995) / sqrt(v), std_error = 1 / sqrt(v)))
case("log_hr_from_survival_at", "DFCI 05-001", "arithmetic",
     list(exposed = .63, reference = .88, ci = list(I(c(.49, .74)), I(c(.84, .91)))),
     list(value = log(log(.63) / log(.88)),
          std_error = sqrt(((loglog(49) - loglog(74)) / (2 * z))^2 + ((loglog(84) - loglog(91)) / (2 * z))^2)))
case("log_hr_from_survival_at", "pre-TKI cohort", "arithmetic", list(exposed = .30, reference = .575, se = I(c(.068, .094))),
     list(value = log(log(.3) / log(.575)), std_error = sqrt((.068 / (.3 * log(.3)))^2 + (.094 / (.575 * log(.575)))^2)))

# -- rare counts
glmm <- function(name, k, n, study, exposed = NULL, nodes = 21) {
  d <- data.frame(k = k, n = n, study = factor(study))
  control <- glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5, rhoend = 1e-10), check.conv.singular = "ignore")
  if (is.null(exposed)) {
    m <- glmer(cbind(k, n - k) ~ 1 + (1 | study), d, binomial, nAGQ = nodes, control = control)
  } else {
    d$x <- exposed
    m <- glmer(cbind(k, n - k) ~ x + (1 | study), d, binomial, nAGQ = nodes, control = control)
  }
  # Standard errors from the Hessian with the random-effect parameter in, glmer's default.
  s <- sqrt(diag(as.matrix(vcov(m)))); b <- fixef(m); j <- length(b)
  show <- if (j == 1) plogis else exp
  input <- list(events = k, totals = n, studies = study)
  if (!is.null(exposed)) input$exposed <- exposed
  case("rare_counts_glmm", name, paste0("lme4::glmer(nAGQ = ", nodes, ")"), input,
       list(value = show(b[[j]]), baseline = plogis(b[[1]]), tau2 = as.numeric(VarCorr(m)$study),
            ci_low = show(b[[j]] - z * s[[j]]), ci_high = show(b[[j]] + z * s[[j]])), 1e-3,
       "lme4 stops its optimiser and differentiates numerically at about 1e-4")
}
glmm("lineage switch, three literature cohorts", c(12, 9, 12), c(166, 1482, 698), c("Lamble", "Rossi", "Czech"))
glmm("Stutterheim table 3 by age and trial", c(3, 8, 12, 25, 16, 21, 16, 52), c(11, 25, 19, 51, 27, 44, 18, 97),
     rep(c("0-2", "2-4", "4-6", "6-12"), each = 2), rep(c(1, 0), 4))
nw <- dat.nielweise2007
glmm("catheter infections, many zeros", c(rbind(nw$ai, nw$ci)), c(rbind(nw$n1i, nw$n2i)), rep(nw$study, each = 2), rep(c(1, 0), nrow(nw)))
write_golden("meta_analysis", c("metafor", "lme4"))
