"""What can be said of a page's looks without taste: nothing cut off, nothing over anything else, enough contrast.

Each check runs in the page and answers what is wrong, one line each.
"""

from __future__ import annotations

from tests.browser.world import Browser

CONTRAST_LEAST = 4.5
"""WCAG 2, level AA, for text of any size."""

SHARED = """
const seen = (element) => {
  if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
  return !element.closest(".sr, .skip:not(:focus), [hidden], dialog:not([open]), option, title, defs");
};
const texts = () => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.trim() || !seen(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1);
    if (boxes.length) found.push({ node, boxes, element: node.parentElement });
  }
  return found;
};
const told = (text) => JSON.stringify(text.node.data.trim().slice(0, 40));
"""

WIDE = """
const root = document.documentElement;
const told = `the page is ${root.scrollWidth} wide, the window ${root.clientWidth}`;
return root.scrollWidth > root.clientWidth ? [told] : [];
"""

CUT = """
const problems = [];
for (const text of texts()) {
  for (const box of text.boxes) {
    for (let around = text.element; around && around !== document.body; around = around.parentElement) {
      const style = getComputedStyle(around);
      if (around.matches(".wide")) break; // scrolls by itself, and can have the focus
      if (around instanceof SVGElement && !(around instanceof SVGSVGElement)) continue;
      const clips = style.overflowX !== "visible" || around instanceof SVGSVGElement;
      const frame = around.getBoundingClientRect();
      const out = box.right > frame.right + 1 || box.left < frame.left - 1;
      if (clips && out) problems.push(`${told(text)} is cut off by ${around.tagName}.${around.getAttribute("class")}`);
    }
    if (!text.element.closest(".wide") && (box.right > innerWidth + 1 || box.left < -1)) {
      problems.push(`${told(text)} reaches out of the window`);
    }
  }
}
return problems;
"""

OVER = """
const problems = [];
const boxes = texts().flatMap((text) => text.boxes.map((box) => ({ text, box })));
boxes.sort((a, b) => a.box.top - b.box.top);
for (let i = 0; i < boxes.length; i++) {
  for (let j = i + 1; j < boxes.length && boxes[j].box.top < boxes[i].box.bottom; j++) {
    const [a, b] = [boxes[i].box, boxes[j].box];
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const apart = boxes[i].text.node === boxes[j].text.node;
    if (!apart && wide > 2 && high > 5) problems.push(`${told(boxes[i].text)} lies over ${told(boxes[j].text)}`);
  }
}
return problems;
"""

CONTRAST = """
const least = arguments[0];
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, under) => top.slice(0, 3).map((part, at) => part * top[3] + under[at] * (1 - top[3])).concat(1);
const light = (colour) => {
  const [r, g, b] = colour.map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const ground = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
  return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255, 1]);
};
const behind = (element) => {
  const shape = element.closest("g")?.querySelector(":scope > rect, :scope > circle");
  const filled = element instanceof SVGElement && shape ? getComputedStyle(shape).fill : "none";
  return filled.startsWith("rgb") || filled.startsWith("color") ? rgba(filled) : ground(element);
};
const problems = new Set();
let count = 0;
for (const text of texts()) {
  const style = getComputedStyle(text.element);
  if (text.element.closest("[disabled]")) continue; // excepted by WCAG
  const colour = text.element instanceof SVGElement ? style.fill : style.color;
  const paper = behind(text.element);
  const found = ratio(over(rgba(colour), paper), paper);
  count += 1;
  if (found < least) problems.add(`${told(text)} has a contrast of ${found.toFixed(2)}`);
}
return count ? [...problems] : ["there is no text on this page"];
"""


def flaws(browser: Browser) -> list[str]:
    """All that is wrong with how the page looks at its present size and colours."""
    found = [*browser.run(WIDE), *browser.run(SHARED + CUT), *browser.run(SHARED + OVER)]
    return [*map(str, found), *map(str, browser.run(SHARED + CONTRAST, CONTRAST_LEAST))]
