# Golden values for tests/test_rank_tests.py. From the repository: Rscript tests/golden/rank_tests.R
source("tests/golden/golden.R")
suppressMessages(library(coin))
d <- chiaretti()
ph <- d$age_years[d$bcr_abl == 1]; other <- d$age_years[d$bcr_abl == 0]
permeability <- list(x = c(.80, .83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, .73, 1.46), y = c(1.15, .88, .90, .74, 1.21))
tied <- list(x = c(1, 2, 2, 3, 3, 3, 5), y = c(2, 3, 4, 4, 5, 6))
set.seed(7); large <- list(x = round(rnorm(60), 6), y = round(rnorm(55, .4), 6))
w <- wilcox.test(permeability$x, permeability$y, conf.int = TRUE)
case("mann_whitney", "permeability (wilcox.test help)", "wilcox.test(conf.int = TRUE)", c(permeability, exact = TRUE),
     list(value = w$estimate, ci_low = w$conf.int[1], ci_high = w$conf.int[2], p_value = w$p.value, statistic = w$statistic))
w <- wilcox.test(c(1.1, 2.2, 3.3), c(4.4, 5.5, 6.6, 7.7))
case("mann_whitney", "no overlap, seven values", "wilcox.test", list(x = c(1.1, 2.2, 3.3), y = c(4.4, 5.5, 6.6, 7.7), exact = TRUE),
     list(p_value = w$p.value, statistic = w$statistic))
for (s in list(list("Chiaretti age, BCR::ABL1 v other", list(x = ph, y = other)), list("ties, small", tied), list("large", large))) {
  v <- s[[2]]
  w <- wilcox.test(v$x, v$y, exact = FALSE, conf.int = TRUE)
  case("mann_whitney", s[[1]], "wilcox.test(exact = FALSE)", c(v, exact = FALSE), list(p_value = w$p.value, statistic = w$statistic))
  # R's interval is a root search with tolerance 1e-4 on a step function.
  case("mann_whitney", s[[1]], "wilcox.test(exact = FALSE, conf.int = TRUE)", c(v, exact = FALSE),
       list(ci_low = w$conf.int[1], ci_high = w$conf.int[2]), 1e-3, "R searches the bounds to an absolute 1e-4")
  if (length(v$x) < 50 && length(v$y) < 50) {
    frame <- data.frame(v = c(v$x, v$y), g = factor(rep(c("x", "y"), c(length(v$x), length(v$y)))))
    p <- as.numeric(pvalue(wilcox_test(v ~ g, frame, distribution = "exact")))
    case("mann_whitney", s[[1]], "coin::wilcox_test(distribution = 'exact')", c(v, exact = TRUE), list(p_value = p))
  }
}
k <- kruskal.test(d$age_years, d$stage)
case("kruskal_wallis", "Chiaretti age by stage", "kruskal.test", list(values = d$age_years, groups = d$stage),
     list(value = k$p.value, statistic = k$statistic, df = k$parameter))
mucociliary <- list(values = c(2.9, 3.0, 2.5, 2.6, 3.2, 3.8, 2.7, 4.0, 2.4, 2.8, 3.4, 3.7, 2.2, 2.0), groups = rep(c("a", "b", "c"), c(5, 4, 5)))
k <- kruskal.test(mucociliary$values, mucociliary$groups)
case("kruskal_wallis", "mucociliary efficiency (kruskal.test help)", "kruskal.test", c(mucociliary, exact = FALSE),
     list(value = k$p.value, statistic = k$statistic, df = k$parameter))
exact_kruskal <- function(v, sizes) {
  # Every way to deal the values into three groups.
  n <- length(v); h <- function(a, b) kruskal.test(v, ifelse(seq_len(n) %in% a, 1, ifelse(seq_len(n) %in% b, 2, 3)))$statistic
  first <- combn(n, sizes[1], simplify = FALSE); seen <- h(seq_len(sizes[1]), sizes[1] + seq_len(sizes[2])); hits <- 0; all <- 0
  for (a in first) for (i in combn(n - sizes[1], sizes[2], simplify = FALSE)) {
    b <- setdiff(seq_len(n), a)[i]; all <- all + 1; hits <- hits + (h(a, b) >= seen - 1e-9)
  }
  hits / all
}
small <- c(1.2, 2.0, 2.0, 3.1, 4.5, 2.6, 5.2, 6.0)
case("kruskal_wallis", "eight values, ties", "all arrangements", list(values = small, groups = rep(c("a", "b", "c"), c(3, 3, 2)), exact = TRUE),
     list(value = exact_kruskal(small, c(3, 3, 2))))
cr <- d[!is.na(d$days_diagnosis_to_remission), ]
pairs <- list(list("Chiaretti age and days to remission", cr$age_years, cr$days_diagnosis_to_remission),
              list("Hollander and Wolfe, nine pairs", c(44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1), c(2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8)),
              list("twenty pairs, no ties", large$x[1:20], large$x[1:20] + 2 * large$y[1:20]),
              list("sixty pairs, no ties", large$x[1:55], large$y), list("perfect order", c(1, 2, 3, 4, 5, 6), c(2, 4, 5, 7, 8, 9)))
for (p in pairs) {
  input <- list(x = p[[2]], y = p[[3]])
  s <- suppressWarnings(cor.test(input$x, input$y, method = "spearman"))
  case("spearman", p[[1]], "cor.test(method = 'spearman')", input, list(value = s$estimate, p_value = s$p.value))
  t <- suppressWarnings(cor.test(input$x, input$y, method = "kendall"))
  case("kendall", p[[1]], "cor.test(method = 'kendall')", input, list(value = t$estimate, p_value = t$p.value))
}
# Far out R's default, the Edgeworth series, gives 0; its t approximation does not.
note <- "cor.test(exact = TRUE), R's default, gives 0 here"
for (noise in c(.3, .6)) {
  far <- list(x = large$x[1:38], y = large$x[1:38] + noise * large$y[1:38])
  stopifnot(cor.test(far$x, far$y, method = "spearman")$p.value == 0)
  s <- cor.test(far$x, far$y, method = "spearman", exact = FALSE)
  case("spearman", sprintf("38 pairs, strong correlation (%s)", noise), "cor.test(method = 'spearman', exact = FALSE)",
       far, list(value = s$estimate, p_value = s$p.value), note = note)
}
case("spearman", "perfect order of twenty", "2 / factorial(20)", list(x = 1:20, y = (1:20)^2),
     list(value = 1, p_value = 2 / factorial(20)), note = note)
write_golden("rank_tests", "coin")
