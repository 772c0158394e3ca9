# Golden values for tests/test_multiplicity.py. From the repository: Rscript tests/golden/multiplicity.R
source("tests/golden/golden.R")
sets <- list("Hartmann legend 3C" = c(.0455, .033, .315, .00916, .0892, .803), "ties and ends" = c(0, .01, .01, .5, 1, 1),
             "one test" = I(.03), "uniform" = round(seq(.001, .999, length.out = 40)^2, 8))
for (n in names(sets)) for (m in c("BH", "holm", "bonferroni"))
  case(m, n, paste0("p.adjust(method = '", m, "')"), list(p = sets[[n]]), list(adjusted = p.adjust(unclass(sets[[n]]), m)))
write_golden("multiplicity")
