#!/usr/bin/env Rscript
# Makes the snapshot of Gene Ontology processes from one Debian package:
#   apt-get install r-bioc-org.hs.eg.db
#   Rscript data/snapshots/go-processes/make.R
# Writes sets.gmt.xz beside itself. Two runs give the same bytes.

suppressMessages({library(AnnotationDbi); library(org.Hs.eg.db)})

arguments <- commandArgs(trailingOnly = FALSE)
script <- sub("--file=", "", grep("--file=", arguments, value = TRUE))
here <- if (length(script)) dirname(normalizePath(script)) else getwd()

# The biological processes of the generic GO slim (2022, as the package's annotations) without those of
# plants and cell walls, in the order of their numbers, and two processes outside it that come closest
# to words of Hartmann 2026: "immune modulation" and "proliferation".
terms <- c(
  "GO:0000278" = "mitotic cell cycle", "GO:0000910" = "cytokinesis",
  "GO:0002181" = "cytoplasmic translation", "GO:0002376" = "immune system process",
  "GO:0003012" = "muscle system process", "GO:0003013" = "circulatory system process",
  "GO:0003014" = "renal system process", "GO:0003016" = "respiratory system process",
  "GO:0005975" = "carbohydrate metabolic process",
  "GO:0006091" = "generation of precursor metabolites and energy",
  "GO:0006260" = "DNA replication", "GO:0006281" = "DNA repair",
  "GO:0006310" = "DNA recombination", "GO:0006325" = "chromatin organization",
  "GO:0006351" = "DNA-templated transcription",
  "GO:0006355" = "regulation of DNA-templated transcription",
  "GO:0006399" = "tRNA metabolic process", "GO:0006457" = "protein folding",
  "GO:0006486" = "protein glycosylation",
  "GO:0006520" = "cellular amino acid metabolic process",
  "GO:0006575" = "cellular modified amino acid metabolic process",
  "GO:0006629" = "lipid metabolic process", "GO:0006766" = "vitamin metabolic process",
  "GO:0006790" = "sulfur compound metabolic process",
  "GO:0006886" = "intracellular protein transport",
  "GO:0006913" = "nucleocytoplasmic transport", "GO:0006914" = "autophagy",
  "GO:0006954" = "inflammatory response", "GO:0007005" = "mitochondrion organization",
  "GO:0007010" = "cytoskeleton organization", "GO:0007018" = "microtubule-based movement",
  "GO:0007031" = "peroxisome organization", "GO:0007040" = "lysosome organization",
  "GO:0007059" = "chromosome segregation", "GO:0007155" = "cell adhesion",
  "GO:0007163" = "establishment or maintenance of cell polarity", "GO:0007568" = "aging",
  "GO:0012501" = "programmed cell death", "GO:0016071" = "mRNA metabolic process",
  "GO:0016073" = "snRNA metabolic process", "GO:0016192" = "vesicle-mediated transport",
  "GO:0022414" = "reproductive process", "GO:0022600" = "digestive system process",
  "GO:0023052" = "signaling", "GO:0030154" = "cell differentiation",
  "GO:0030163" = "protein catabolic process",
  "GO:0030198" = "extracellular matrix organization", "GO:0031047" = "gene silencing by RNA",
  "GO:0032200" = "telomere organization", "GO:0034330" = "cell junction organization",
  "GO:0036211" = "protein modification process", "GO:0042060" = "wound healing",
  "GO:0042254" = "ribosome biogenesis", "GO:0044782" = "cilium organization",
  "GO:0048856" = "anatomical structure development", "GO:0048870" = "cell motility",
  "GO:0050877" = "nervous system process", "GO:0050886" = "endocrine process",
  "GO:0051604" = "protein maturation", "GO:0055065" = "metal ion homeostasis",
  "GO:0055085" = "transmembrane transport",
  "GO:0055086" = "nucleobase-containing small molecule metabolic process",
  "GO:0061007" = "hepaticobiliary system process", "GO:0061024" = "membrane organization",
  "GO:0065003" = "protein-containing complex assembly",
  "GO:0071941" = "nitrogen cycle metabolic process",
  "GO:0072659" = "protein localization to plasma membrane",
  "GO:0098542" = "defense response to other organism", "GO:0098754" = "detoxification",
  "GO:0140013" = "meiotic nuclear division", "GO:0140014" = "mitotic nuclear division",
  "GO:0140053" = "mitochondrial gene expression",
  "GO:1901135" = "carbohydrate derivative metabolic process",
  "GO:0002682" = "regulation of immune system process",
  "GO:0008283" = "cell population proliferation"
)

# Genes annotated to a term or to any term below it; a term without a human gene falls out here.
terms <- terms[names(terms) %in% mappedkeys(org.Hs.egGO2ALLEGS)]
annotated <- as.list(org.Hs.egGO2ALLEGS[names(terms)])
symbol <- as.list(org.Hs.egSYMBOL)
lines <- vapply(names(terms), function(id) {
  genes <- sort(unique(unlist(symbol[unique(annotated[[id]])], use.names = FALSE)), method = "radix")
  paste(c(id, terms[[id]], genes), collapse = "\t")
}, "")
out <- xzfile(file.path(here, "sets.gmt.xz"), "wb", compression = 9)
writeLines(enc2utf8(unname(lines)), out, sep = "\n")
close(out)
