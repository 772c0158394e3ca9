# Non-negative least squares (nnls) and nu-support vector regression (e1071, libsvm) on one small
# table of profiles and one mixture with noise, and on a rank-deficient one.
# Rscript tests/golden/deconvolution.R  ->  tests/golden/deconvolution.json
suppressMessages({library(nnls); library(e1071); library(jsonlite)})
file <- sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE))
set.seed(20260219)
a <- matrix(rlnorm(40 * 5), 40)
b <- as.vector(a %*% c(0.5, 0, 0.3, 0.2, 0)) * rlnorm(40, 0, 0.3)
repeated <- cbind(a, a[, 1] + a[, 2])
x <- (a - mean(a)) / sqrt(mean((a - mean(a))^2))
y <- (b - mean(b)) / sqrt(mean((b - mean(b))^2))
svr <- lapply(c(0.25, 0.5, 0.75), function(nu) {
  m <- svm(x, y, type = "nu-regression", kernel = "linear", nu = nu, cost = 1, scale = FALSE,
           tolerance = 1e-7)
  as.vector(t(m$coefs) %*% m$SV)
})
out <- list(
  r = R.version.string,
  packages = list(nnls = as.character(packageVersion("nnls")),
                  e1071 = as.character(packageVersion("e1071"))),
  a = a, b = b,
  nnls = nnls(a, b)$x, deviance = nnls(a, b)$deviance,
  repeated_fitted = as.vector(repeated %*% nnls(repeated, b)$x),
  svr = svr
)
write_json(out, file.path(dirname(file), "deconvolution.json"), digits = NA, auto_unbox = TRUE)
