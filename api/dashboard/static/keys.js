// One key, one element: `data-key` says which. A field gets the focus, everything else is clicked.

const FIELDS = "input, select, textarea";

function writing(target) {
  return target instanceof Element && target.matches("input:not([type=radio], [type=checkbox]), select, textarea");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && document.activeElement instanceof HTMLElement) return document.activeElement.blur();
  if (writing(event.target) || document.querySelector("dialog[open]")) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not([disabled])`);
  if (!found || found.hidden) return;
  event.preventDefault();
  if (found.matches(FIELDS)) found.focus();
  else found.click();
});

for (const button of document.querySelectorAll("[data-opens]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal());
}
