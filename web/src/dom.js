// Elements without a framework: text is always set as text, never as markup.

export function el(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS(SVG_NS, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function terms(list, entries) {
  list.replaceChildren(...entries.map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v))));
}

/** Fills a select, keeping what is chosen; touches nothing when nothing changed. */
export function options(select, entries) {
  const now = JSON.stringify(entries);
  if (select.dataset.entries === now) return;
  const chosen = select.value;
  select.replaceChildren(...entries.map(([value, text]) => el("option", { value }, text)));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
  select.dataset.entries = now;
}

const SVG_NS = "http://www.w3.org/2000/svg";
const SVG = new Set(["svg", "g", "path", "circle", "text", "line", "title"]);
