// The world map: nodes where they stand, relay paths as arcs, the watching viewer as a ring.
// It is drawn at the size that it has on the page, so that text stays readable on a phone.

import { geoGraticule10, geoInterpolate, geoNaturalEarth1, geoPath } from "d3-geo";
import { feature } from "topojson-client";
import world from "world-atlas/land-110m.json";
import { el } from "./dom.js";
import { bits, count, percent } from "./format.js";
import { place, spread } from "./labels.js";

const LATITUDES = [80, -56]; // where people live; the rest would make the map smaller
const LINE = 16; // height of a label
const RING = 13; // the viewer's ring goes around a node
const SPLITS = 5; // regions that a tooltip names
const CHEAP = 0.005; // a price that reads as nothing is left out
const ALONG = 40; // points of an arc that labels keep off: closer together than a label is wide
const LAND = feature(world, world.objects.land);

export class WorldMap {
  #drawn = {};

  constructor(parent) {
    this.parent = parent;
    this.svg = el("svg", { role: "img" });
    parent.prepend(this.svg);
    this.context = document.createElement("canvas").getContext("2d");
    this.shown = { nodes: [], links: [] };
    this.quotes = new Map();
    new ResizeObserver(() => this.#resize()).observe(parent);
    this.#resize();
  }

  /** `at` is where the viewer watches from ({lat, lon, approximate}) and `edge` serves it; either may be missing. */
  show(nodes, links, at, edge) {
    this.shown = { nodes: nodes.filter((node) => node.place), links, at, edge };
    this.#draw();
  }

  /** What edges cost, are to carry and from where, by a plan. */
  price(plan) {
    const quotes = plan.edges.map((edge) => [edge.id, { ...edge, from: [] }]);
    this.quotes = new Map(quotes);
    for (const region of plan.regions) {
      for (const way of region.ways) {
        this.quotes.get(way.edge)?.from.push({ region: region.region, bps: region.now_bps * way.share, share: way.share });
      }
    }
    this.#draw();
  }

  #resize() {
    const style = getComputedStyle(this.parent);
    const width = this.parent.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (width <= 0 || width === this.width) return;
    this.width = width;
    this.projection = geoNaturalEarth1().rotate([-11, 0]).precision(0.1).fitWidth(width, { type: "Sphere" });
    const [top, bottom] = LATITUDES.map((lat) => this.projection([11, lat])[1]);
    const [x, y] = this.projection.translate();
    this.height = Math.round(bottom - top);
    this.projection.translate([x, y - top]).clipExtent([[0, 0], [width, this.height]]);
    this.path = geoPath(this.projection);
    const layers = ["links", "nodes", "viewer", "labels"].map((name) => (this[name] = el("g", { class: name })));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.svg.replaceChildren(
      el("path", { class: "sphere", d: this.path({ type: "Sphere" }) }),
      el("path", { class: "graticule", d: this.path(geoGraticule10()) }),
      el("path", { class: "land", d: this.path(LAND) }),
      ...layers,
    );
    this.context.font = `12.5px ${getComputedStyle(document.body).fontFamily}`;
    this.#drawn = {};
    this.#draw();
  }

  #draw() {
    const { nodes, links, at, edge } = this.shown;
    const mark = (node) => ({ node, quote: this.quotes.get(node.id), ...this.#spot(node.place), r: radius(node) });
    const marks = spread(nodes.toSorted(byImportance(edge)).map(mark));
    const byId = new Map(marks.map((mark) => [mark.node.id, mark]));
    const served = byId.get(edge);
    this.svg.setAttribute("aria-label", inWords(nodes, at, served?.node));
    const paths = links.filter((link) => byId.has(link.from) && byId.has(link.to));
    this.#layer("links", paths.map((link) => el("path", { class: "link", d: this.#arc(byId.get(link.from), byId.get(link.to)) })));
    const you = at && { ...this.#spot(at), r: RING };
    this.#layer("viewer", you ? this.#viewer(you, at, served) : []);
    this.#layer("nodes", marks.map(drawNode));
    this.#layer("labels", this.#labels(marks, you, served));
  }

  #viewer(you, at, served) {
    const ring = el("circle", { cx: you.x, cy: you.y, r: RING, class: at.approximate ? "ring roughly" : "ring" });
    const here = served && Math.hypot(served.x - you.x, served.y - you.y) < RING;
    if (here) return [ring];
    const arc = served ? [el("path", { class: "served", d: this.#arc(served, you) })] : [];
    return [...arc, ring, el("circle", { cx: you.x, cy: you.y, r: 3, class: "dot" })];
  }

  #labels(marks, you, served) {
    const item = (mark, words, kind) => ({ ...mark, words, kind, width: this.context.measureText(words).width + 4, height: LINE });
    const ringed = (mark) => you && Math.hypot(mark.x - you.x, mark.y - you.y) < RING;
    const items = marks.map((mark) => item(ringed(mark) ? { ...mark, r: RING } : mark, label(mark), mark.node.role));
    if (you) items.unshift(item(you, "you", "you"));
    const between = you && served ? this.#along(you, served) : [];
    const spots = place(items, [...marks, ...(you ? [you] : []), ...between], this);
    return items.flatMap(({ words, kind }, i) =>
      spots[i] ? [el("text", { class: kind, x: spots[i].x + 2, y: spots[i].y + LINE - 4 }, words)] : [],
    );
  }

  #spot({ lat, lon }) {
    const [x, y] = this.projection([lon, lat]);
    return { x, y };
  }

  /** The great circle between two marks, drawn from where they were moved to. */
  #arc(a, b) {
    return this.path({ type: "LineString", coordinates: [a, b].map(({ x, y }) => this.projection.invert([x, y])) });
  }

  /** Points of the great circle between two marks, for labels to keep off. */
  #along(a, b) {
    const at = geoInterpolate(...[a, b].map(({ x, y }) => this.projection.invert([x, y])));
    return Array.from({ length: ALONG }, (_, i) => this.projection(at(i / ALONG))).map(([x, y]) => ({ x, y, r: 2 }));
  }

  /** Replaces a layer's content when it looks different: animations and tooltips go on otherwise. */
  #layer(name, content) {
    const now = content.map((node) => node.outerHTML).join("");
    if (this.#drawn[name] === now) return;
    this.#drawn[name] = now;
    this[name].replaceChildren(...content);
  }
}

function drawNode({ node, quote, x, y, r, home }) {
  const moved = Math.hypot(home[0] - x, home[1] - y) > 1;
  return el("g", { class: `node ${node.role} ${node.health}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "data-node": node.id },
    ...(moved ? [el("line", { x2: home[0] - x, y2: home[1] - y })] : []),
    node.role === "edge" ? el("circle", { r }) : el("path", { d: `M0 ${-r} ${r} 0 0 ${r} ${-r} 0Z` }),
    ...(node.load > 0 ? [el("path", { class: node.load > 0.9 ? "load full" : "load", d: part(r + 3, Math.min(node.load, 0.999)) })] : []),
    ...(node.health === "down" ? [el("path", { class: "cross", d: "M-3-3 3 3M3-3-3 3" })] : []),
    el("title", {}, `${node.id} (${node.role}, ${node.health})\n${count(node.viewers)} viewers, ${bits(node.egress_bps)}${quote ? planned(quote) : ""}`));
}

/** The part of a circle, from the top clockwise. */
function part(r, share) {
  const angle = 2 * Math.PI * share;
  const [x, y] = [r * Math.sin(angle), -r * Math.cos(angle)].map((at) => at.toFixed(1));
  return `M0 ${-r}A${r} ${r} 0 ${share > 0.5 ? 1 : 0} 1 ${x} ${y}`;
}

/** What the plan says of an edge, for its tooltip. */
function planned({ money, scarcity, planned_bps, from }) {
  const most = from.filter(({ bps }) => bps > 0).toSorted((a, b) => b.bps - a.bps).slice(0, SPLITS);
  const splits = most.map(({ region, share }) => `\n${percent(share)} of ${region}`);
  return `\nprice ${(money + scarcity).toFixed(2)}, ${bits(planned_bps)} planned${splits.join("")}`;
}

const radius = (node) => (node.role === "edge" ? 5.5 + Math.min(6, 2 * Math.log10(1 + node.viewers)) : 6);
const label = ({ node, quote }) => {
  if (node.role !== "edge") return node.id;
  const price = quote && quote.money + quote.scarcity >= CHEAP ? ` · ${(quote.money + quote.scarcity).toFixed(2)}` : "";
  return `${node.place.name || node.id} · ${count(node.viewers)}${price}`;
};

/** Who is drawn where it stands, and labelled first. */
const byImportance = (edge) => (a, b) =>
  (b.id === edge) - (a.id === edge) ||
  (b.role === "edge") - (a.role === "edge") ||
  (b.viewers > 0) - (a.viewers > 0) ||
  a.id.localeCompare(b.id);

function inWords(nodes, at, served) {
  const edges = nodes.filter((node) => node.role === "edge");
  const up = edges.filter((node) => node.health === "up").map((node) => node.place.name || node.id);
  const you = at && served ? ` You watch from ${at.name || "your place"}, served by ${served.id}.` : "";
  return `World map. Edges up: ${up.join(", ") || "none"}.${you}`;
}
