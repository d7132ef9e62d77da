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

/** Sets an element's text only when it changed: what is selected or read aloud stays so. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function terms(list, entries) {
  while (list.children.length < entries.length) list.append(el("div", {}, el("dt"), el("dd")));
  while (list.children.length > entries.length) list.lastChild.remove();
  entries.forEach(([name, value], i) => {
    text(list.children[i].firstChild, name);
    text(list.children[i].lastChild, value);
  });
}

/** Fills a select, keeping what is chosen; touches nothing when nothing changed. */
export function options(select, entries) {
  const now = JSON.stringify(entries);
  if (select.dataset.entries === now) return;
  const chosen = select.value;
  select.replaceChildren(...entries.map(([value, name]) => el("option", { value }, name)));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
  select.dataset.entries = now;
}

/**
 * A table's body that is refreshed in place, so that keyboard focus and selected text outlive a refresh.
 * A column has `text(item)`, or `button(item)` giving `{ text, title, press }` or null; and perhaps `class`, also as a function.
 */
export class Table {
  #rows = new Map();

  constructor(body, { key, columns, empty, mark = () => "" }) {
    Object.assign(this, { body, key, columns, mark });
    this.empty = el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, empty));
  }

  show(items) {
    const rows = new Map(items.map((item) => [this.key(item), this.#row(item)]));
    this.#rows = rows;
    const elements = rows.size ? [...rows.values()] : [this.empty];
    const same = elements.length === this.body.children.length && elements.every((row, i) => row === this.body.children[i]);
    if (!same) this.body.replaceChildren(...elements);
  }

  #row(item) {
    const row = this.#rows.get(this.key(item)) ?? el("tr", {}, ...this.columns.map(() => el("td")));
    row.className = this.mark(item);
    this.columns.forEach((column, i) => {
      const cell = row.children[i];
      const kind = typeof column.class === "function" ? column.class(item) : column.class;
      if (cell.className !== (kind ?? "")) cell.className = kind ?? "";
      if (column.button) this.#button(cell, column.button(item));
      else text(cell, column.text(item));
    });
    return row;
  }

  #button(cell, wanted) {
    if (!wanted) return cell.replaceChildren();
    if (!cell.firstChild) cell.append(el("button", { type: "button" }));
    const button = cell.firstChild;
    text(button, wanted.text);
    button.title = wanted.title;
    button.onclick = wanted.press;
  }
}

const SVG_NS = "http://www.w3.org/2000/svg";
const SVG = new Set(["svg", "g", "path", "circle", "text", "line", "title"]);
