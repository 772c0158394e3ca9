# The R side of `python -m ballbook.speed`: reads what that wrote into a folder, times the same work
# with R's packages on one core, and leaves speed.json there. Rscript tests/golden/speed.R FOLDER
suppressPackageStartupMessages({library(survival); library(cmprsk); library(GSVA); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
repeats <- as.integer(commandArgs(TRUE)[2])
# Processor time, not elapsed time, so that other work on the machine does not count.
best <- function(f)
  min(vapply(seq_len(repeats), function(i) sum(system.time(f(), gcFirst = TRUE)[c("user.self", "sys.self")]), 0))

d <- read.csv(file.path(folder, "cox.csv"))
rows <- as.matrix(read.csv(file.path(folder, "resamples.csv"), header = FALSE)) + 1
right <- paste(setdiff(names(d), c("time", "event")), collapse = " + ")
model <- as.formula(paste("Surv(time, event) ~", right))
out <- list()
out$cox <- best(function() apply(rows, 1, function(i) coef(coxph(model, d[i, ]))))
first <- coef(coxph(model, d[rows[1, ], ]))

for (n in c(1e4, 1e5, 1e6)) {
  e <- read.csv(file.path(folder, sprintf("competing-%d.csv", as.integer(n))))
  out[[sprintf("km-%d", as.integer(n))]] <-
    best(function() survfit(Surv(time, cause > 0) ~ 1, e, conf.type = "log-log"))
  out[[sprintf("aj-%d", as.integer(n))]] <-
    best(function() cuminc(e$time, e$cause))
}

m <- as.matrix(read.csv(gzfile(file.path(folder, "expression.csv.gz")), row.names = 1))
sets <- fromJSON(file.path(folder, "sets.json"))
score <- function() invisible(capture.output(
  s <<- gsva(m, sets, method = "ssgsea", ssgsea.norm = FALSE, verbose = FALSE)))
invisible(gc(reset = TRUE))
before <- sum(gc()[, 2])
out$ssgsea <- best(score)
out$ssgsea_mb <- sum(gc()[, 6]) - before
out$check <- list(cox = unname(first), ssgsea = s[1, 1])
out$versions <- list(R = paste(R.version$major, R.version$minor, sep = "."),
  survival = as.character(packageVersion("survival")), cmprsk = as.character(packageVersion("cmprsk")),
  GSVA = as.character(packageVersion("GSVA")))
writeLines(toJSON(out, auto_unbox = TRUE, digits = NA), file.path(folder, "speed.json"))
