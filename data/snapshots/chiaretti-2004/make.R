#!/usr/bin/env Rscript
# Makes the Chiaretti 2004 snapshot from three Debian packages:
#   apt-get install r-bioc-all r-bioc-annotate r-bioc-org.hs.eg.db
#   Rscript data/snapshots/chiaretti-2004/make.R
# Writes patients.csv, expression.csv.xz and most_variable_probes.csv.xz beside itself. Two runs
# give the same bytes.

suppressMessages(library(Biobase))

arguments <- commandArgs(trailingOnly = FALSE)
script <- sub("--file=", "", grep("--file=", arguments, value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()

from_package <- function(package, name) {
  e <- new.env()
  load(system.file("data", paste0(name, ".rda"), package = package), envir = e)
  e[[name]]
}
ALL <- from_package("ALL", "ALL")
pheno <- pData(ALL)

# ---- Patients: calendar dates become days between two events, then are dropped.
day <- function(text) as.Date(text, format = "%m/%d/%Y")
days <- function(from, to) as.integer(day(to) - day(from))
yes_no <- function(x) ifelse(is.na(x), "", ifelse(x, "yes", "no"))
blank <- function(x) ifelse(is.na(x), "", as.character(x))

patients <- data.frame(
  patient_id = rownames(pheno),
  sex = blank(pheno$sex),
  age_years = blank(pheno$age),
  immunophenotype = blank(pheno$BT),
  molecular_biology = blank(pheno$mol.biol),
  fusion_protein = blank(pheno[["fusion protein"]]),
  cytogenetics = blank(pheno$citog),
  t_4_11 = yes_no(pheno[["t(4;11)"]]),
  t_9_22 = yes_no(pheno[["t(9;22)"]]),
  normal_karyotype = yes_no(pheno$cyto.normal),
  ploidy = c(dyploid = "diploid", "hyperd." = "hyperdiploid")[as.character(pheno$kinet)],
  mdr = c(NEG = "negative", POS = "positive")[as.character(pheno$mdr)],
  remission = blank(pheno$remission),
  remission_detail = blank(pheno$CR),
  continuous_remission = yes_no(pheno$ccr),
  relapse = yes_no(pheno$relapse),
  transplant = yes_no(pheno$transplant),
  follow_up = blank(pheno$f.u),
  days_diagnosis_to_remission = blank(days(pheno$diagnosis, pheno$date.cr)),
  days_remission_to_last_seen = blank(days(pheno$date.cr, pheno[["date last seen"]])),
  stringsAsFactors = FALSE
)
patients$ploidy <- blank(patients$ploidy)
patients$mdr <- blank(patients$mdr)
write.csv(patients, file.path(here, "patients.csv"), row.names = FALSE, quote = FALSE, eol = "\n")

# ---- Genes: probe to symbol of the time (annotate), then to today's symbol (org.Hs.eg.db).
probes <- featureNames(ALL)
old <- unlist(mget(probes, envir = from_package("annotate", "hgu95Asym"), ifnotfound = NA))
old <- trimws(sub(";.*", "", old))
# The table writes a missing symbol as the text "NA", which is also an alias of XK.
old[old %in% c("", "NA")] <- NA

db <- DBI::dbConnect(RSQLite::SQLite(), org.Hs.eg.db::org.Hs.eg_dbfile())
official <- unique(DBI::dbGetQuery(db, "SELECT symbol FROM gene_info")$symbol)
alias <- DBI::dbGetQuery(db, paste(
  "SELECT DISTINCT a.alias_symbol AS alias, g.symbol AS symbol",
  "FROM alias a JOIN gene_info g ON a._id = g._id"
))
DBI::dbDisconnect(db)
# An alias of two genes names neither.
alias <- alias[!alias$alias %in% alias$alias[duplicated(alias$alias)], ]
current <- ifelse(old %in% official, old, alias$symbol[match(old, alias$alias)])
names(current) <- probes

# ---- One probe per gene: the one with the highest mean over all 128 samples.
level <- exprs(ALL)
usable <- probes[!is.na(current)]
usable <- usable[order(-rowMeans(level[usable, ]), usable)]
chosen <- usable[!duplicated(current[usable])]
chosen <- chosen[order(current[chosen], method = "radix")]

out <- formatC(level[chosen, ], format = "f", digits = 3)
lines <- c(
  paste(c("gene", "probe", colnames(level)), collapse = ","),
  paste(current[chosen], chosen, apply(out, 1, paste, collapse = ","), sep = ",")
)
xz <- xzfile(file.path(here, "expression.csv.xz"), "wb", compression = 9)
writeLines(lines, xz, sep = "\n")
close(xz)

# ---- The most variable probe of each gene, where it is another one: a check of the choice above.
spread <- apply(level[usable, ], 1, sd)
other <- usable[order(-spread, usable)]
other <- setdiff(other[!duplicated(current[other])], chosen)
other <- other[order(current[other], method = "radix")]
out <- formatC(level[other, ], format = "f", digits = 2)
lines <- c(
  paste(c("gene", "probe", colnames(level)), collapse = ","),
  paste(current[other], other, apply(out, 1, paste, collapse = ","), sep = ",")
)
xz <- xzfile(file.path(here, "most_variable_probes.csv.xz"), "wb", compression = 9)
writeLines(lines, xz, sep = "\n")
close(xz)

message(
  nrow(patients), " patients; ", sum(!is.na(current)), " of ", length(probes),
  " probes have a current symbol; ", length(chosen), " genes"
)
