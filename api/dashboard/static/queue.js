// The queue by keys: j and k go from row to row, Enter opens, c claims, r resolves. The place is kept over a claim.

const PLACE = "stakeout-queue-place";
const body = document.querySelector("#queue tbody");

function rows() {
  return body ? [...body.querySelectorAll(".row")] : [];
}

function current() {
  return body?.querySelector(".row.current") ?? null;
}

function select(row) {
  if (!row) return;
  current()?.removeAttribute("aria-selected");
  current()?.classList.remove("current");
  row.classList.add("current");
  row.setAttribute("aria-selected", "true");
  row.querySelector(".open").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const all = rows();
  const at = all.indexOf(current());
  select(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))]);
}

function claim() {
  const button = current()?.querySelector("button[value=claim]");
  if (!button) return;
  sessionStorage.setItem(PLACE, JSON.stringify([location.search, rows().indexOf(current())]));
  button.click();
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  c: claim,
  r: () => current()?.querySelector("[data-do=resolve]")?.click(),
  Enter: () => current()?.querySelector(".open").click(),
};

document.addEventListener("keydown", (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const elsewhere = event.target.closest?.("input, select, textarea, dialog, button, a:not(.open)");
  if (!plain || elsewhere || !Object.hasOwn(KEYS, event.key)) return;
  if (event.key === "Enter" && event.target.closest("a")) return; // the link has the focus and opens by itself
  event.preventDefault();
  KEYS[event.key]();
});

body?.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row && !event.target.closest("a, button, form") && !String(getSelection())) row.querySelector(".open").click();
});

const kept = sessionStorage.getItem(PLACE);
if (kept) {
  sessionStorage.removeItem(PLACE);
  const at = JSON.parse(kept)[1];
  select(rows()[Math.min(at, rows().length - 1)]);
}
