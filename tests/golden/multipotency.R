# Golden values for tests/test_multipotency_outcome.py: Good 2018 from the table as published. From
# the repository, with the mirror in BALLBOOK_DATA: Rscript tests/golden/multipotency.R
source("tests/golden/golden.R")
suppressMessages({ library(survival); library(riskRegression); library(data.table) })
load(file.path(Sys.getenv("BALLBOOK_DATA"), "upstream", "keyes-timothy+tidytof", "data", "ddpr_metadata.rda"))
d <- as.data.frame(ddpr_metadata)
d <- d[!duplicated(sub("-(Rx|PB)$", "", d$patient_id)) & d$relapse_status %in% c("Yes", "No"), ]
d$event <- 1 * (d$relapse_status == "Yes")
d$time <- ifelse(d$event == 1, d$time_to_relapse, d$ccr) / (365.25 / 12)
d$ddpr <- 1 * (d$ddpr_risk == "High")
d$nci <- c(Standard = 0, High = 1)[as.character(d$nci_rome_risk)]
d$mrd <- c(Standard = 0, Intermediate = 1, High = 2)[as.character(d$mrd_risk)]
tight <- coxph.control(eps = 1e-11, iter.max = 60)
parts <- list(training = d[d$cohort == "Training", ], validation = d[d$cohort == "Validation", ], all = d)
page <- function(id, call, expected, ...) case("page", id, call, list(id = id), expected, ...)
hr <- function(f, term) { s <- summary(f)$conf.int[term, ]; list(value = s[[1]], ci_low = s[[3]], ci_high = s[[4]], p_value = summary(f)$coef[term, 5]) }
for (n in names(parts)) {
  g <- parts[[n]]
  if (n != "validation") page(paste0("ddpr-", n), "coxph()", hr(coxph(Surv(time, event) ~ ddpr, g, control = tight), "ddpr"))
  k <- concordance(Surv(time, event) ~ ddpr, g, reverse = TRUE)
  half <- qnorm(.975) * sqrt(k$var)
  page(paste0("ddpr-c-", n), "concordance(reverse = TRUE)", list(value = k$concordance, ci_low = k$concordance - half, ci_high = k$concordance + half))
  a <- Score(list(m = g$ddpr), Surv(time, event) ~ 1, data = g, times = 60, metrics = "auc", cens.model = "km", null.model = FALSE, conf.int = FALSE)
  page(paste0("ddpr-auc-", n), "riskRegression::Score(cens.model = 'km')", list(value = a$AUC$score$AUC))
}
for (n in c("training", "validation")) for (r in c("High", "Low")) {
  s <- summary(survfit(Surv(time, event) ~ 1, parts[[n]][parts[[n]]$ddpr_risk == r, ], conf.type = "log-log"), times = 60)
  page(paste0("free-", n, "-", tolower(r)), "survfit(conf.type = 'log-log')", list(value = s$surv, ci_low = if (s$surv < 1) s$lower else NA, ci_high = if (s$surv < 1) s$upper else NA))
}
t <- survdiff(Surv(time, event) ~ ddpr, parts$training)
page("training-logrank", "survdiff()", list(value = pchisq(t$chisq, 1, lower.tail = FALSE), statistic = t$chisq))
# All 252 ways to give five of ten patients high risk.
v <- parts$validation
u <- function(g) { s <- survdiff(Surv(v$time, v$event) ~ g); abs(s$obs[2] - s$exp[2]) }
all <- apply(combn(10, 5), 2, function(i) u(1 * (1:10 %in% i)))
page("validation-exact", "survdiff() over all arrangements", list(value = mean(all >= u(v$ddpr) - 1e-9)))
cc <- d[!is.na(d$nci) & !is.na(d$mrd), ]
base <- coxph(Surv(time, event) ~ nci + mrd, cc, control = tight)
full <- coxph(Surv(time, event) ~ nci + mrd + ddpr, cc, control = tight)
page("added", "anova(coxph(), coxph())", list(value = anova(base, full)[2, 4], statistic = anova(base, full)[2, 2]), tolerance = 1e-5,
     note = "A difference of two maximised likelihoods.")
cc$b <- predict(base, type = "lp", reference = "zero"); cc$f <- predict(full, type = "lp", reference = "zero")
a <- Score(list(b = round(cc$b, 8), f = round(cc$f, 8)), Surv(time, event) ~ 1, data = cc, times = 60, metrics = "auc", cens.model = "km", null.model = FALSE, conf.int = TRUE)
page("base-auc-apparent", "riskRegression::Score()", list(value = a$AUC$score[model == "b"]$AUC))
page("full-auc-apparent", "riskRegression::Score()", list(value = a$AUC$score[model == "f"]$AUC))
page("auc-gain", "riskRegression::Score()$AUC$contrasts", list(value = a$AUC$contrasts$delta.AUC))
page("auc-gain", "riskRegression::Score()$AUC$contrasts, P value", list(p_value = a$AUC$contrasts$p), tolerance = 0.1,
     note = "Its influence function is that of large samples, ours the exact one of this sample.")
for (m in c("base", "full")) { k <- concordance(get(m)); page(paste0(m, "-concordance-apparent"), "concordance(coxph())", list(value = k$concordance)) }
# The score of exact_logrank in a case with ties.
ties <- list(time = c(1, 2, 2, 3, 3, 4, 5, 6), event = c(1, 1, 0, 1, 1, 0, 1, 0), group = c(1, 1, 0, 1, 0, 0, 1, 0))
w <- function(g) { s <- survdiff(Surv(ties$time, ties$event) ~ g); s$obs[2] - s$exp[2] }
every <- apply(combn(8, 4), 2, function(i) w(1 * (1:8 %in% i)))
case("exact_logrank", "eight patients with ties", "survdiff() over all arrangements", ties,
     list(value = mean(abs(every) >= abs(w(ties$group)) - 1e-9), statistic = w(ties$group)))
write_golden("multipotency", c("survival", "riskRegression"))
