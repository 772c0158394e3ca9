// Tables sort by a click on a column's head, and tables of class bb-filter get a search box.
// The ledger filters by paper, page, data, verdict and words, and its address keeps the filter.
(() => {
  "use strict";

  const text = (cell) => cell.textContent.trim();

  // The exact value where there is one, else a number read from the text, else the text.
  const key = (cell) => {
    const raw = cell.dataset.value ?? text(cell);
    const number = Number(raw.replace(/[\s,%\u2009\u00a0]/g, "").replace("\u2212", "-"));
    if (raw !== "" && !Number.isNaN(number)) return number;
    const leading = /^[<>≥≤=\sP]*([-\u2212]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)/i.exec(raw);
    return leading ? Number(leading[1].replace(/,/g, "").replace("\u2212", "-")) : raw;
  };
  const missing = (cell) => /^[\u2013-]?$/.test(text(cell)) && !cell.dataset.value;

  const sort = (table, column, direction) => {
    const rows = [...table.tBodies[0].rows];
    const cells = new Map(rows.map((row) => [row, row.cells[column]]));
    const numeric = rows.every((row) => missing(cells.get(row)) || typeof key(cells.get(row)) === "number");
    const compare = (a, b) => (numeric ? key(a) - key(b) : text(a).localeCompare(text(b), "en", { numeric: true }));
    rows.sort((a, b) => {
      const [x, y] = [cells.get(a), cells.get(b)];
      // What is missing stays last in both directions.
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return direction * compare(x, y);
    });
    table.tBodies[0].append(...rows);
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    if (table.tBodies[0].rows.length < 2) return;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "bb-sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  };

  // The boards of answers are stacked on a phone, where each cell needs the name of its column.
  const label = (table) => {
    const names = [...table.tHead.rows[0].cells].map(text);
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => (cell.dataset.label = names[column]));
    }
  };

  const filterable = (table) => {
    const box = document.createElement("input");
    box.type = "search";
    box.className = "bb-filter-box";
    box.placeholder = "Filter rows";
    box.setAttribute("aria-label", "Filter the rows of this table");
    table.closest(".bb-scroll").before(box);
    box.addEventListener("input", () => {
      const wanted = box.value.toLowerCase();
      for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  };

  // The hash is a filter (#verdict=differs&q=mrd) when it holds an equals sign, else a claim's id.
  const ledger = (box) => {
    const form = box.querySelector(".bb-filters");
    const rows = [...box.querySelector("table").tBodies[0].rows];
    const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const { q, ...selects } = Object.fromEntries(
      [...form.elements].filter((field) => field.name).map((field) => [field.name, field]),
    );
    const tiles = [...box.querySelectorAll(".bb-tile")];

    const apply = () => {
      const chosen = Object.entries(selects).filter(([, field]) => field.value);
      const terms = q.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        row.hidden =
          !chosen.every(([name, field]) => row.dataset[name] === field.value) ||
          !terms.every((term) => words.get(row).includes(term));
        shown += !row.hidden;
      }
      form.querySelector("output").value = `${shown} of ${rows.length} claims`;
      for (const tile of tiles) {
        tile.setAttribute("aria-pressed", selects[tile.dataset.name].value === tile.dataset.value);
      }
      reachable();
    };
    const changed = () => {
      apply();
      const state = new URLSearchParams();
      for (const [name, field] of Object.entries({ ...selects, q })) {
        if (field.value) state.set(name, field.value);
      }
      history.replaceState(null, "", location.href.split("#")[0] + (state.size ? `#${state}` : ""));
    };
    const restore = () => {
      const hash = location.hash.slice(1);
      if (hash && !hash.includes("=")) {
        const row = document.getElementById(decodeURIComponent(hash));
        if (!row?.hidden) return;
        form.reset();
        apply();
        row.scrollIntoView();
        return;
      }
      const state = new URLSearchParams(hash);
      for (const [name, field] of Object.entries({ ...selects, q })) {
        field.value = state.get(name) ?? "";
        if (field.selectedIndex === -1) field.value = "";
      }
      apply();
    };

    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", changed);
    // The fields are empty only after the event.
    form.addEventListener("reset", () => setTimeout(changed));
    for (const tile of tiles) {
      tile.addEventListener("click", () => {
        const field = selects[tile.dataset.name];
        field.value = field.value === tile.dataset.value ? "" : tile.dataset.value;
        changed();
      });
    }
    addEventListener("hashchange", restore);
    restore();
  };

  // A box that scrolls must be reachable from the keyboard.
  // A fading edge says that there is more.
  const fade = (box) => box.toggleAttribute("data-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  const reachable = () => {
    for (const box of document.querySelectorAll(".bb-scroll")) {
      fade(box);
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls) {
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", "Scrolls sideways");
      } else {
        for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      }
    }
  };

  // On a phone a figure is read in parts; a button shows it whole, small.
  const whole = (figure) => {
    const box = figure.querySelector(".bb-scroll");
    const links = figure.querySelector(".bb-downloads");
    if (!box || !links || box.scrollWidth <= box.clientWidth + 1) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "bb-whole";
    const say = (fitted) => {
      button.textContent = fitted ? "Full size" : "Whole figure";
      button.setAttribute("aria-pressed", String(fitted));
    };
    button.addEventListener("click", () => {
      say(figure.classList.toggle("bb-fitted"));
      reachable();
    });
    say(false);
    links.prepend(button);
  };

  const start = () => {
    document.querySelectorAll(".bb-answer table, .bb-board table").forEach(label);
    document.querySelectorAll("table.bb-sortable").forEach(sortable);
    document.querySelectorAll("table.bb-filter").forEach(filterable);
    document.querySelectorAll(".bb-ledger").forEach(ledger);
    document.querySelectorAll(".bb-figure").forEach(whole);
    reachable();
    for (const box of document.querySelectorAll(".bb-scroll")) box.addEventListener("scroll", () => fade(box));
    addEventListener("resize", reachable);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
