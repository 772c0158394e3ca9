# Golden values for tests/test_multistate.py.
# Run from the repository: BALLBOOK_DATA=<mirror> Rscript tests/golden/multistate.R
# Made-up courses are kept in the JSON; of the EBMT transplants only the results are.
suppressMessages(library(survival))

read_fit <- function(f, times, tau) {
  s <- summary(f, times = times, extend = TRUE)
  # survfit gives no error of the mean time: the influences are integrated here.
  grid <- c(0, f$time[f$time < tau], tau)
  u <- f$influence.pstate[, seq_len(length(grid) - 1), , drop = FALSE]
  mean_se <- apply(u, 3, function(x) sqrt(sum((x %*% diff(grid))^2)))
  list(states = f$states, times = times, p = c(t(s$pstate)), se = c(t(s$std.err)),
       low = c(t(s$lower)), high = c(t(s$upper)), tau = tau,
       mean = unname(summary(f, rmean = tau)$table[, "rmean"]), mean_se = mean_se)
}

# Ties, a state that can be left again, late entry, a death at time 0.
set.seed(8)
rows <- list()
for (id in 1:60) {
  t <- if (id %% 7 == 0) sample(1:4, 1) else 0
  state <- if (id %% 14 == 0) "relapse" else "remission"
  repeat {
    end <- t + ceiling(rexp(1, 1 / 9))
    u <- runif(1)
    to <- if (state == "remission") {
      if (u < 0.5) "relapse" else if (u < 0.62) "switch" else if (u < 0.75) "dead" else NA
    } else if (state == "relapse") {
      if (u < 0.35) "remission" else if (u < 0.5) "switch" else if (u < 0.85) "dead" else NA
    } else if (u < 0.8) "dead" else NA
    rows[[length(rows) + 1]] <- data.frame(id = id, start = t, stop = end, state = state, to = to)
    if (is.na(to) || to == "dead") break
    t <- end
    state <- to
  }
}
d <- do.call(rbind, rows)
names_of <- c("remission", "relapse", "switch", "dead")
d$event <- factor(ifelse(is.na(d$to), "none", d$to), c("none", names_of))
d$istate <- factor(d$state, names_of)
f <- survfit(Surv(start, stop, event) ~ 1, data = d, id = id, istate = istate,
             p0 = c(1, 0, 0, 0), influence = TRUE,
             conf.type = "log-log")
made_up <- read_fit(f, c(2, 5, 10, 20, 30), 24)

# EBMT: transplant, recovery, adverse event, both, relapse, death (days to years).
e <- read.csv(file.path(Sys.getenv("BALLBOOK_DATA"), "clinical", "ebmt-mstate", "ebmt4.csv"))
long <- do.call(rbind, lapply(seq_len(nrow(e)), function(i) {
  x <- e[i, ]
  end <- min(x$rel, x$srv)
  at <- c(recovery = if (x$rec.s == 1) x$rec else Inf, adverse = if (x$ae.s == 1) x$ae else Inf)
  both <- if (all(is.finite(at))) max(at) else Inf
  last <- if (x$rel.s == 1 && x$rel <= x$srv) "relapse" else if (x$srv.s == 1) "dead" else NA
  moves <- c(if (min(at) < both || !is.finite(both)) at[is.finite(at) & at == min(at) & at < end],
             if (both < end) c(both = both))
  moves <- moves[!duplicated(moves, fromLast = TRUE)]
  state <- c("transplant", names(moves))
  data.frame(id = i, start = c(0, moves), stop = c(moves, end), state = state,
             to = c(names(moves), last))
}))
states <- c("transplant", "recovery", "adverse", "both", "relapse", "dead")
long$event <- factor(ifelse(is.na(long$to), "none", long$to), c("none", states))
long$istate <- factor(long$state, states)
long <- long[long$stop > long$start, ]
g <- survfit(Surv(start, stop, event) ~ 1, data = long, id = id, istate = istate,
             p0 = c(1, 0, 0, 0, 0, 0), influence = TRUE,
             conf.type = "log-log")
ebmt <- read_fit(g, c(30, 100, 365, 1826), 1826)
moves <- as.data.frame(table(long$state, long$to, dnn = c("state", "to")), stringsAsFactors = FALSE)
moves <- moves[moves$Freq > 0, ]

write_json <- function(x) {
  if (is.list(x)) {
    inner <- vapply(x, write_json, "")
    if (is.null(names(x))) paste0("[", paste(inner, collapse = ", "), "]")
    else paste0("{", paste0('"', names(x), '": ', inner, collapse = ", "), "}")
  } else if (is.character(x)) {
    v <- ifelse(is.na(x), "null", paste0('"', x, '"'))
    if (length(v) == 1) v else paste0("[", paste(v, collapse = ", "), "]")
  } else {
    v <- ifelse(is.na(x), "null", formatC(x, digits = 15, width = 1, format = "g"))
    if (length(v) == 1) v else paste0("[", paste(v, collapse = ", "), "]")
  }
}
out <- list(
  versions = list(R = R.version.string, survival = as.character(packageVersion("survival"))),
  stays = list(patient_id = d$id, start = d$start, stop = d$stop, state = d$state, to = d$to),
  made_up = made_up, ebmt = ebmt,
  ebmt_moves = list(state = moves$state, to = moves$to, n = moves$Freq)
)
writeLines(write_json(out), file.path("tests", "golden", "multistate.json"))
