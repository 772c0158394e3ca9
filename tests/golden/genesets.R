# Reference values for tests/test_genesets.py and tests/test_maturity.py.
#   BALLBOOK_DATA=<mirror> Rscript tests/golden/genesets.R
# singscore is written out here sample by sample and gene by gene, from the formula of the paper;
# ssGSEA and the combined z-score come from GSVA.

suppressPackageStartupMessages({
  library(GSVA)
  library(jsonlite)
})

naive_singscore <- function(values, up, down = character()) {
  # values: named numeric vector, one sample
  n <- length(values)
  one <- function(genes, reverse) {
    genes <- intersect(genes, names(values))
    k <- length(genes)
    ranks <- vapply(genes, function(g) sum(values < values[[g]]) + 1, numeric(1))
    if (reverse) ranks <- n - ranks + 1
    low <- (k + 1) / 2
    high <- (2 * n - k + 1) / 2
    (mean(ranks) - low) / (high - low) - 0.5
  }
  score <- one(up, FALSE)
  if (length(down)) score <- score + one(down, TRUE)
  score
}

# Ranks need sort order only, so the fast path must agree with the naive one; used for real data.
fast_singscore <- function(matrix, up, down) {
  apply(matrix, 2, function(v) {
    r <- rank(v, ties.method = "min")
    n <- length(r)
    part <- function(genes, r) {
      genes <- intersect(genes, names(r))
      k <- length(genes)
      (mean(r[genes]) - (k + 1) / 2) / (n - k) - 0.5
    }
    part(up, r) + part(down, n - r + 1)
  })
}

out <- list(versions = list(
  R = R.version.string,
  GSVA = as.character(packageVersion("GSVA"))
))

# 1. Small matrices, with and without ties.
set.seed(20260219)
genes <- sprintf("g%02d", 1:40)
untied <- matrix(round(rnorm(40 * 6, 6, 2), 6), 40, dimnames = list(genes, paste0("s", 1:6)))
tied <- round(untied)
tied[, 6] <- 5
sets <- list(
  A = list(up = c("g01", "g05", "g09", "g33", "absent"), down = c("g02", "g07", "g40")),
  B = list(up = sprintf("g%02d", 11:30), down = character()),
  C = list(up = "g17", down = "g18")
)
score_all <- function(m) {
  lapply(sets, function(s) apply(m, 2, naive_singscore, up = s$up, down = s$down))
}
up_sets <- lapply(sets, function(s) intersect(s$up, genes))
gsva_of <- function(m, ...) {
  invisible(capture.output(
    r <- suppressWarnings(gsva(m, up_sets, min.sz = 1, verbose = FALSE, ...))
  ))
  apply(r, 1, as.list)
}
out$small <- list(
  genes = genes, samples = colnames(untied), sets = sets,
  untied = apply(untied, 1, as.numeric, simplify = FALSE),
  tied = apply(tied, 1, as.numeric, simplify = FALSE),
  singscore_untied = score_all(untied),
  singscore_tied = score_all(tied),
  ssgsea_untied = gsva_of(untied, method = "ssgsea", ssgsea.norm = FALSE),
  zscore_untied = gsva_of(untied, method = "zscore")
)

# 2. Real cohorts: stage scores, slope and the comparisons of the page.
root <- Sys.getenv("BALLBOOK_DATA")
stages <- c("HSC", "Pro.B", "Pre.B.I", "Pre.B.II.Large", "Pre.B.II.Small", "Immature", "Most")
gmt <- strsplit(readLines(file.path(root, "omics/allcatchr/bstage_gene_sets.gmt")), "\t")
stage_sets <- setNames(lapply(gmt, function(x) x[-(1:2)]), vapply(gmt, `[`, "", 1))
background <- readLines(file.path(root, "omics/allcatchr/bstage_background_genes.txt"))

stage_table <- function(matrix) {
  matrix <- matrix[rownames(matrix) %in% background, , drop = FALSE]
  sapply(stages, function(s) {
    fast_singscore(matrix, stage_sets[[paste0(s, "_UP")]], stage_sets[[paste0(s, "_DN")]])
  })
}
slope_of <- function(raw) {
  z <- t(scale(t(raw)))
  apply(z[, stages[2:6]], 1, function(y) unname(coef(lm(y ~ seq_len(5)))[2]))
}
compare <- function(slope, is_kmt2a) {
  a <- slope[is_kmt2a]
  b <- slope[!is_kmt2a]
  w <- wilcox.test(a, b)
  exact <- wilcox.test(a, b, exact = TRUE, conf.int = TRUE)
  t <- t.test(a, b)
  list(
    n = c(length(a), length(b)), means = c(mean(a), mean(b)),
    wilcoxon_p = w$p.value, wilcoxon_w = unname(w$statistic),
    exact_p = exact$p.value, shift = unname(exact$estimate),
    shift_ci = as.numeric(exact$conf.int),
    welch_difference = mean(a) - mean(b), welch_ci = as.numeric(t$conf.int), welch_p = t$p.value
  )
}
spearman <- function(x, y) {
  ok <- !is.na(x) & !is.na(y)
  r <- suppressWarnings(cor.test(x[ok], y[ok], method = "spearman"))
  list(n = sum(ok), rho = unname(r$estimate), p = r$p.value)
}

# Chiaretti: the most expressed probe set of each gene over all 128 samples.
x <- as.matrix(read.csv(file.path(root, "omics/chiaretti-all/rma_log2_12625x128.csv.gz"),
  row.names = 1, check.names = FALSE
))
symbols <- read.csv(file.path(root, "omics/chiaretti-all/hgu95av2_probe_symbol.csv"))
symbol <- symbols$current_symbol[match(rownames(x), symbols$probe)]
keep <- !is.na(symbol) & symbol != ""
x <- x[keep, ]
symbol <- symbol[keep]
o <- order(-rowMeans(x))
x <- x[o, ]
x <- x[!duplicated(symbol[o]), ]
rownames(x) <- symbol[o][!duplicated(symbol[o])]
pheno <- read.csv(file.path(root, "omics/chiaretti-all/pheno_128.csv"),
  colClasses = c(sample = "character"), check.names = FALSE
)
pheno <- pheno[match(colnames(x), pheno$sample), ]
raw <- stage_table(x)
slope <- slope_of(raw)
b_lineage <- grepl("^B", pheno$BT)
aff1 <- pheno$`mol.biol` == "ALL1/AF4"
immuno <- b_lineage & pheno$BT %in% c("B1", "B2", "B3", "B4")
out$chiaretti <- list(
  samples = colnames(x), n_genes = sum(rownames(x) %in% background),
  raw = as.data.frame(raw), slope = unname(slope),
  kmt2a = compare(slope[b_lineage], aff1[b_lineage]),
  raw_slope_p = compare(as.numeric(raw[b_lineage, 2:6] %*% (-2:2)) / 10, aff1[b_lineage])$wilcoxon_p,
  age_all = spearman(pheno$age[b_lineage], slope[b_lineage]),
  age_aff1 = spearman(pheno$age[b_lineage & aff1], slope[b_lineage & aff1]),
  immunophenotype = spearman(as.integer(substr(pheno$BT[immuno], 2, 2)), slope[immuno]),
  b1 = compare(slope[immuno], pheno$BT[immuno] == "B1"),
  b1_without_aff1 = compare(slope[immuno & !aff1], pheno$BT[immuno & !aff1] == "B1")
)

# DFCI and Krali: the shared log-CPM table, Ensembl ids renamed by ALLCatchR.
folder <- file.path(root, "omics/paediatric-all-deg-logcpm")
table <- read.csv(gzfile(file.path(folder, "logcpm_2897genes_793samples.csv.gz")),
  row.names = 1, check.names = FALSE
)
labels <- read.csv(file.path(folder, "column_labels.csv"))
ids <- read.csv(gzfile(file.path(root, "omics/allcatchr/ID_conversion_sex.csv.gz")))
names_of <- ids$symbol[match(rownames(table), ids$ensemble_ID)]
stopifnot(!anyDuplicated(names_of[!is.na(names_of)]))
table <- as.matrix(table[!is.na(names_of), ])
rownames(table) <- names_of[!is.na(names_of)]
for (series in c("GSE181157", "GSE227832")) {
  mine <- labels[which(labels$cohort == series), ]
  s <- slope_of(stage_table(table[, mine$sample]))
  b <- !mine$subtype %in% c("T-ALL")
  kmt2a <- grepl("^KMT2A", mine$subtype)
  out[[tolower(series)]] <- list(
    n = sum(b), samples = mine$sample, slope = unname(s), kmt2a = compare(s[b], kmt2a[b]),
    age_all = if (series == "GSE181157") spearman(mine$age_years[b], s[b])
  )
}

# GSE133499: from raw counts.
counts <- as.matrix(read.csv(gzfile(file.path(root, "omics/geo-gse133499/counts_42.csv.gz")),
  row.names = 1, check.names = FALSE
))
lengths <- read.csv(gzfile(file.path(root, "omics/allcatchr/cds_length.csv.gz")))
cds <- setNames(lengths$cds_length, lengths$gene)
counts <- counts[rownames(counts) %in% background, grepl("^ALL", colnames(counts))]
rate <- counts / cds[rownames(counts)]
tpm <- 1e6 * t(t(rate) / colSums(rate))
raw <- stage_table(tpm)
out$gse133499 <- list(
  samples = colnames(tpm), n_genes = nrow(tpm), raw = as.data.frame(raw),
  slope = unname(slope_of(raw))
)

# 3. Small statistics of the page. Newcombe's interval (method 5), by its definition.
newcombe <- function(x, y) {
  m <- length(x)
  n <- length(y)
  theta <- mean(outer(x, y, "<") + 0.5 * outer(x, y, "=="))
  centre <- (m + n) / 2 - 1
  v <- function(t) t * (1 - t) / (m * n) * (1 + centre * (1 - t) / (2 - t) + centre * t / (1 + t))
  f <- function(t) (theta - t)^2 - qnorm(0.975)^2 * v(t)
  list(
    value = theta, low = uniroot(f, c(0, min(theta, 1 - 1e-9)), tol = 1e-13)$root,
    high = if (theta == 1) 1 else uniroot(f, c(theta, 1), tol = 1e-13)$root
  )
}
eta_squared <- function(p, n, groups) {
  f <- qf(p, groups - 1, n - groups, lower.tail = FALSE)
  (groups - 1) * f / ((groups - 1) * f + n - groups)
}
is_aff1 <- b_lineage & aff1
out$statistics <- list(
  chance_lower = newcombe(slope[is_aff1], slope[b_lineage & !aff1]),
  chance_lower_ties = newcombe(c(1, 2, 2, 3), c(2, 2, 4, 5, 6)),
  chance_lower_perfect = newcombe(1:3, 4:7),
  eta_squared = c(eta_squared(2.6e-5, 221, 4), eta_squared(0.0035, 43, 4))
)

here <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
write_json(out, file.path(dirname(here), "genesets.json"),
  digits = NA, auto_unbox = TRUE, dataframe = "columns", pretty = FALSE
)
