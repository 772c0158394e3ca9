# Classification trees by rpart, areas under the ROC curve by pROC and calibration by glm, for
# tests/test_trees.py. Run from the repository: Rscript tests/golden/trees.R
suppressPackageStartupMessages({library(rpart); library(pROC); library(jsonlite)})

# Kyphosis after spinal surgery (Chambers and Hastie 1992), the data set that rpart ships.
data(kyphosis)
grow <- function(depth, bucket) {
  fit <- rpart(Kyphosis ~ Age + Number + Start, kyphosis, method = "class",
    control = rpart.control(maxdepth = depth, minbucket = bucket, minsplit = 2 * bucket, cp = -1,
      xval = 0, maxcompete = 0, maxsurrogate = 0))
  frame <- fit$frame
  inner <- frame$var != "<leaf>"
  cuts <- rep(NA_real_, nrow(frame))
  cuts[inner] <- fit$splits[, "index"]
  list(depth = depth, bucket = bucket,
    nodes = data.frame(id = as.integer(rownames(frame)), variable = as.character(frame$var),
      n = frame$n, present = as.integer(frame$yval2[, 3]), cut = cuts),
    predicted = as.character(predict(fit, type = "class")))
}

# Scores with ties, and a calibration example.
set.seed(2026)
event <- rbinom(60, 1, 0.35)
score <- round(rnorm(60) + 0.8 * event, 1)
r <- roc(event, score, direction = "<", quiet = TRUE)
p <- plogis(-1 + 0.7 * rnorm(60) + 0.6 * event)
logit <- qlogis(p)
slope <- glm(event ~ logit, family = binomial, epsilon = 1e-14)
shift <- glm(event ~ offset(logit), family = binomial, epsilon = 1e-14)

write_json(list(
  r = R.version.string,
  packages = list(rpart = as.character(packageVersion("rpart")), pROC = as.character(packageVersion("pROC"))),
  kyphosis = kyphosis,
  trees = list(grow(1, 7), grow(2, 10), grow(3, 10)),
  roc = list(event = event, score = score, auc = as.numeric(auc(r)), delong_variance = var(r),
    wilcoxon = wilcox.test(score[event == 1], score[event == 0], exact = FALSE, correct = TRUE)$p.value),
  calibration = list(p = p, intercept = unname(coef(shift)),
    intercept_se = unname(sqrt(diag(vcov(shift)))), slope = unname(coef(slope)[2]),
    slope_se = unname(sqrt(diag(vcov(slope)))[2]))
), "tests/golden/trees.json", digits = 14, auto_unbox = TRUE, pretty = TRUE, dataframe = "columns")
