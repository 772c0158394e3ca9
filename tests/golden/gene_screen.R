# Golden values for tests/test_gene_screen.py. From the repository: Rscript tests/golden/gene_screen.R
source("tests/golden/golden.R")
suppressMessages({library(MASS); library(ordinal); library(limma)})
d <- chiaretti(); d <- d[d$stage %in% c("B1", "B2", "B3", "B4"), ]
x <- read.csv(xzfile("data/snapshots/chiaretti-2004/expression.csv.xz"), check.names = FALSE)
rownames(x) <- x$gene
genes <- c("CD34", "MME", "DNTT", "CD19", "MEIS1", "HOXA9", "PAX5", "IGLL1", "RAG1", "MKI67", "TP53", "FLT3")
m <- as.matrix(x[genes, d$patient_id])
y <- as.integer(substr(d$stage, 2, 2)) - 1L
unit <- function(v) (v - mean(v)) / sqrt(mean((v - mean(v))^2))
covariates <- list(none = NULL, adjusted = list(age = d$age_years, male = d$male))
control <- clm.control(gradTol = 1e-12, maxIter = 1000L)
for (name in names(covariates)) {
  z <- covariates[[name]]; base <- data.frame(y = ordered(y))
  if (!is.null(z)) base <- cbind(base, as.data.frame(z))
  m0 <- clm(y ~ ., data = base, control = control)
  if (is.null(z)) m0 <- clm(y ~ 1, data = base, control = control)
  for (g in genes) {
    data <- base; data$x <- unit(m[g, ])
    one <- clm(y ~ ., data = data, control = control)
    s <- coef(summary(one))["x", ]
    lr <- 2 * as.numeric(logLik(one) - logLik(m0))
    input <- list(gene = g, y = y, values = unname(m[g, ]), covariates = z)
    case("fit", g, paste0("ordinal::clm, ", name), input,
         list(coef = s[[1]], se = s[[2]], statistic = lr, p_value = pchisq(lr, 1, lower.tail = FALSE)))
    p <- polr(y ~ ., data = data, control = list(reltol = 1e-15, maxit = 5000))
    case("fit", g, paste0("MASS::polr, ", name), input, list(coef = coef(p)[["x"]]), 1e-4)
    # Gradient and Hessian where the gene has no part yet.
    start <- c(coef(m0), x = 0)
    at <- suppressWarnings(clm(y ~ ., data = data, start = start, control = clm.control(maxIter = 0L, innerCtrl = "giveError"), doFit = FALSE))
    at$par <- start; at$clm.nll(at); gradient <- at$clm.grad(at); hessian <- at$clm.hess(at)
    k <- length(start); v <- 1 / solve(hessian)[k, k]
    case("score", g, paste0("ordinal::clm at beta = 0, ", name), input,
         list(z = -gradient[k] / sqrt(v)))
  }
}
# Sets of genes: camera with fixed and with estimated correlation.
big <- as.matrix(x[seq(1, 600), d$patient_id]); design <- model.matrix(~ factor(y))
statistic <- apply(big, 1, function(v) cor(v, y)) * sqrt(length(y))
residual <- t(apply(big, 1, function(v) residuals(lm(v ~ factor(y)))))
for (members in list(1:12, 40:64, c(5, 17, 300, 411, 599))) {
  rho <- interGeneCorrelation(big[members, ], design)$correlation
  case("correlation", paste(length(members), "genes"), "limma::interGeneCorrelation",
       list(residuals = unname(residual[members, ])), list(value = rho))
  for (r in c(0, rho)) {
    stat <- statistic
    out <- cameraPR(stat, list(set = members), inter.gene.cor = r, use.ranks = FALSE)
    t <- qt(out$PValue / 2, df = length(stat) - 2, lower.tail = FALSE) * ifelse(out$Direction == "Up", 1, -1)
    case("camera", paste(length(members), "genes"), "limma::cameraPR",
         list(z = unname(stat), members = members - 1L, correlation = r), list(statistic = t, p_value = out$PValue), 1e-6)
  }
}
write_golden("gene_screen", c("MASS", "ordinal", "limma"))
