# What the golden scripts of the estimators share. A case is one call of an estimator: `data` says
# on what, `call` which R call gave `expected`, `tolerance` the relative difference allowed.
suppressMessages(library(jsonlite))

cases <- list()
case <- function(estimator, data, call, input, expected, tolerance = 1e-6, note = NULL) {
  finite <- function(x) if (is.numeric(x)) ifelse(is.finite(x), x, NA) else x
  one <- list(estimator = estimator, data = data, call = call, tolerance = tolerance,
              input = input, expected = lapply(expected, function(v) unname(finite(v))))
  if (!is.null(note)) one$note <- note
  cases[[length(cases) + 1]] <<- one
}
write_golden <- function(topic, packages = character()) {
  versions <- vapply(packages, function(p) as.character(packageVersion(p)), "")
  out <- list(R = paste(R.version$major, R.version$minor, sep = "."),
              packages = as.list(versions), cases = cases)
  writeLines(toJSON(out, auto_unbox = TRUE, digits = NA, na = "null", null = "null", pretty = 1),
             file.path("tests", "golden", paste0(topic, ".json")))
}
solve_for <- function(f, low, high) uniroot(f, c(low, high), tol = 1e-15, maxiter = 10000)$root

# Chiaretti 2004, B lineage with known age and sex: a small cohort in the repository.
chiaretti <- function() {
  d <- read.csv("data/snapshots/chiaretti-2004/patients.csv", na.strings = "")
  d <- d[grepl("^B", d$immunophenotype) & !is.na(d$age_years) & !is.na(d$sex), ]
  d$stage <- d$immunophenotype
  d$bcr_abl <- as.integer(d$molecular_biology == "BCR/ABL")
  d$kmt2a <- as.integer(d$molecular_biology == "ALL1/AF4")
  d$male <- as.integer(d$sex == "M")
  d
}
# Kaplan-Meier textbook set of 137 transplants, from the mirror; rows are not written out.
bmt <- function() {
  folder <- Sys.getenv("BALLBOOK_DATA")
  read.csv(file.path(folder, "clinical", "hsct-textbook-sets", "kmsurv_bmt.csv"))
}
