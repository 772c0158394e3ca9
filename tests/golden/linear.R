# Golden values for tests/test_linear.py.
# From the repository: BALLBOOK_DATA=<mirror> Rscript tests/golden/linear.R
source("tests/golden/golden.R")
record <- function(name, y, g, input, welch = TRUE) {
  for (equal in c(TRUE, FALSE)[c(TRUE, welch)]) {
    a <- oneway.test(y ~ g, var.equal = equal)
    case("anova", name, paste0("oneway.test(var.equal = ", equal, ")"), c(input, equal_variances = equal),
         list(value = a$p.value, statistic = a$statistic, df = a$parameter[1]))
  }
  t <- TukeyHSD(aov(y ~ factor(g)))[[1]]
  case("tukey", name, "TukeyHSD", input, list(difference = t[, 1], ci_low = t[, 2], ci_high = t[, 3], p_adjusted = t[, 4]), 1e-4,
       "ptukey is off by up to 2e-5 for small P; see test_tukey_integrates_the_studentized_range")
}
d <- chiaretti()
record("Chiaretti age by stage", d$age_years, d$stage, list(values = d$age_years, groups = d$stage))
small <- list(values = c(1.1, 1.3, 5.2, 4.9, 5.6, 9.0, 8.1), groups = c("a", "a", "b", "b", "b", "c", "c"))
record("seven values, far apart", small$values, small$groups, small)
model <- function(name, y, frame, input) {
  m <- lm(y ~ ., cbind(y = y, frame)); s <- summary(m); k <- confint(m)
  for (j in seq_len(ncol(frame) + 1))
    case("linear_model", name, "lm, confint", c(input, name = c("(intercept)", names(frame))[j]),
         list(value = coef(m)[j], ci_low = k[j, 1], ci_high = k[j, 2], p_value = s$coefficients[j, 4],
              sigma = s$sigma, r_squared = s$r.squared, f = s$fstatistic[1]))
}
frame <- d[c("male", "bcr_abl", "kmt2a")]; model("Chiaretti age", d$age_years, frame, list(y = d$age_years, X = as.list(frame)))
# Powers of one variable: a design whose columns nearly determine each other.
x <- c(0, 1, 2, 3, 4, 5, 6, 7, 8); powers <- data.frame(x1 = x, x2 = x^2, x3 = x^3, x4 = x^4)
y <- c(1.2, .8, 2.5, 3.9, 3.1, 8.8, 12.5, 11.9, 20.3)
model("quartic, nearly collinear", y, powers, list(y = y, X = as.list(powers)))
if (Sys.getenv("BALLBOOK_DATA") != "") {
  b <- bmt()
  record("KMsurv bmt, age by group", b$z1, b$group, list(values = "z1", groups = "group"))
}
write_golden("linear")
