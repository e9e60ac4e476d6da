// The worklist by keyboard, and new rows that do not disturb the one that somebody is on.

const rows = () => [...document.querySelectorAll("#rows tbody tr")];
const link = (row) => row?.querySelector("a.open");
const current = () => document.activeElement?.closest?.("#rows tbody tr") ?? null;
const search = () => document.getElementById("search");

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  const to = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  link(all[to]).focus();
  all[to].scrollIntoView({ block: "nearest" });
}

const KEYS = {
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  Home: () => move(-Infinity),
  End: () => move(Infinity),
  "]": () => document.getElementById("more")?.click(),
  "[": () => document.getElementById("first")?.click(),
  "/": () => search().select(),
  Enter: () => link(rows()[0])?.click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const field = event.target.closest("input, select, textarea");
  if (field) {
    const leaves = event.key === "Escape" || (field === search() && event.key === "ArrowDown");
    if (leaves) {
      event.preventDefault();
      field.blur();
      move(1);
    }
    return;
  }
  // Enter opens what has the focus; with the focus nowhere, the most urgent study.
  if (event.key === "Enter" && document.activeElement !== document.body && document.activeElement.id !== "main") return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  const row = event.target.closest("#rows tbody tr");
  if (row && !event.target.closest("a, button") && !String(getSelection())) link(row).click();
});

// -- rows that come by themselves

let before = null;

document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target?.id !== "rows") return;
  const row = current();
  const background = !event.detail.requestConfig?.triggeringEvent;
  before = {
    background,
    known: new Set(rows().map((one) => one.dataset.study)),
    study: row?.dataset.study,
    index: row ? rows().indexOf(row) : -1,
    top: row?.getBoundingClientRect().top,
  };
});

document.addEventListener("htmx:afterSwap", () => {
  if (!before) return;
  const was = before;
  before = null;
  const all = rows();
  if (was.background) {
    for (const row of all) row.classList.toggle("arrived", !was.known.has(row.dataset.study));
  }
  if (was.index < 0) return;
  // The row stays under the eye, and has the focus; where it has gone, the one in its place.
  const row = all.find((one) => one.dataset.study === was.study);
  const next = row ?? all[Math.min(was.index, all.length - 1)];
  link(next)?.focus({ preventScroll: true });
  if (row) scrollBy(0, row.getBoundingClientRect().top - was.top);
});
