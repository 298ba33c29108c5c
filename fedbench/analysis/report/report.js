"use strict";
/* Navigation, the choice of a condition, tables that sort and filter. The page can be read without any of it. */
document.documentElement.classList.add("js");

const conditions = (() => {
  const parts = [...document.querySelectorAll(".condition[data-condition]")];
  const picks = [...document.querySelectorAll(".condition-pick")];
  const listeners = [];
  let chosen = -1;
  function select(number) {
    if (number === chosen) return;
    chosen = number;
    for (const part of parts) {
      if (Number(part.dataset.condition) === number) part.removeAttribute("hidden");
      else part.setAttribute("hidden", "until-found");
    }
    for (const pick of picks) pick.value = String(number);
    for (const listener of listeners) listener(number);
  }
  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const part = target && target.closest(".condition[data-condition]");
    if (!part) return;
    select(Number(part.dataset.condition));
    target.scrollIntoView();
  }
  for (const pick of picks) pick.addEventListener("change", () => select(Number(pick.value)));
  for (const part of parts) part.addEventListener("beforematch", () => select(Number(part.dataset.condition)));
  window.addEventListener("hashchange", reveal);
  return { select, reveal, listen: (listener) => listeners.push(listener) };
})();

/* -- tables ------------------------------------------------------------------------------------------------------ */

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/* What a cell is sorted by: a number, a text, or null for an empty cell, which always comes last. */
function key(cell) {
  const text = (cell.dataset.v ?? cell.textContent).trim();
  if (text === "" || text === "–") return null;
  const number = Number(text.replace("−", "-"));
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return collator.compare(String(a), String(b));
}

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = element("button", { type: "button", title: "Sort by this column" }, head.textContent);
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const keys = new Map(original.map((row) => [row, key(row.cells[column])]));
      const numbers = original.some((row) => typeof keys.get(row) === "number");
      const turns = numbers ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const next = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      for (const other of heads) other.setAttribute("aria-sort", other === head ? next : "none");
      const sign = next === "descending" ? -1 : 1;
      const rows = [...original];
      if (next !== "none") {
        rows.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * compare(x, y);
        });
      }
      table.classList.toggle("sorted", next !== "none");
      body.append(...rows);
    });
  });
}

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  const groups = [...new Set(rows.map((row) => row.dataset.group).filter(Boolean))];
  if (rows.length < 5 && groups.length < 2) return;
  const scroll = table.closest(".scroll");
  const none = element("p", { className: "none", hidden: true }, "No row fits the filter.");
  const count = element("span", { className: "count" });
  count.setAttribute("aria-live", "polite");
  const words = element("input", { type: "search", placeholder: "all of these words" });
  const pick = element("select", {}, ...groups.map((group) => element("option", { value: group }, group)));
  const tools = element("div", { className: "tools" });
  if (groups.length > 1) tools.append(element("label", {}, "Score", pick));
  tools.append(element("label", {}, "Filter", words), count);
  scroll.before(tools);
  scroll.after(none);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  function apply() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const inside = rows.filter((row) => groups.length < 2 || row.dataset.group === pick.value);
    const shown = new Set(inside.filter((row) => wanted.every((word) => texts.get(row).includes(word))));
    for (const row of rows) row.hidden = !shown.has(row);
    count.textContent = shown.size === inside.length ? `${inside.length} rows` : `${shown.size} of ${inside.length} rows`;
    none.hidden = shown.size > 0;
  }
  words.addEventListener("input", apply);
  words.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || words.value === "") return;
    words.value = "";
    apply();
  });
  pick.addEventListener("change", apply);
  apply();
}

for (const table of document.querySelectorAll("table.sortable")) {
  sortable(table);
  filterable(table);
}

/* -- one endpoint at a time -------------------------------------------------------------------------------------- */

for (const part of document.querySelectorAll(".switch")) {
  const pick = part.querySelector("select");
  const options = [...part.querySelectorAll(".option")];
  const apply = () => options.forEach((option, i) => {
    if (i === pick.selectedIndex) option.removeAttribute("hidden");
    else option.setAttribute("hidden", "until-found");
  });
  options.forEach((option, i) => option.addEventListener("beforematch", () => { pick.selectedIndex = i; apply(); }));
  pick.addEventListener("change", apply);
  apply();
}

/* -- where the reader is ----------------------------------------------------------------------------------------- */

(() => {
  const links = [...document.querySelectorAll(".nav a")];
  const sections = links.map((link) => document.querySelector(link.getAttribute("href")));
  const list = document.querySelector(".nav ul");
  let current = null;
  function mark() {
    const line = window.innerHeight / 3;
    const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
    const passed = sections.filter((section) => section.getBoundingClientRect().top <= line).length;
    const link = links[atEnd ? links.length - 1 : Math.max(0, passed - 1)];
    if (link === current) return;
    if (current) current.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    list.scrollLeft = link.offsetLeft - list.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
    current = link;
  }
  let waiting = false;
  window.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; mark(); });
  }, { passive: true });
  mark();
})();
