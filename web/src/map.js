// The world map: nodes where they stand, relay paths as arcs, the watching viewer as a ring.

import { geoGraticule10, geoNaturalEarth1, geoPath } from "d3-geo";
import { feature } from "topojson-client";
import world from "world-atlas/land-110m.json";
import { el } from "./dom.js";
import { bits, count } from "./format.js";

const WIDTH = 960;
const HEIGHT = 470;

export class WorldMap {
  constructor(parent) {
    const land = feature(world, world.objects.land);
    this.projection = geoNaturalEarth1().fitExtent([[6, 6], [WIDTH - 6, HEIGHT - 6]], { type: "Sphere" });
    this.path = geoPath(this.projection);
    this.links = el("g", { class: "links" });
    this.viewer = el("g", { class: "viewer" });
    this.nodes = el("g", { class: "nodes" });
    parent.append(
      el("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
        el("path", { class: "sphere", d: this.path({ type: "Sphere" }) }),
        el("path", { class: "graticule", d: this.path(geoGraticule10()) }),
        el("path", { class: "land", d: this.path(land) }),
        this.links, this.viewer, this.nodes),
    );
  }

  /** `at` is where the viewer watches from ({lat, lon}) and `edge` the node that serves it; either may be missing. */
  show(nodes, links, at, edge) {
    const placed = new Map(spread(nodes.filter((n) => n.place)).map((n) => [n.id, n]));
    const arc = (a, b, attributes) =>
      el("path", { ...attributes, d: this.path({ type: "LineString", coordinates: [[a.lon, a.lat], [b.lon, b.lat]] }) });
    this.links.replaceChildren(
      ...links.filter((l) => placed.has(l.from) && placed.has(l.to)).map((l) => {
        const line = arc(placed.get(l.from), placed.get(l.to), { class: "link" });
        line.append(el("title", {}, `${l.from} to ${l.to}: ${l.rtt_ms.toFixed(1)} ms`));
        return line;
      }),
    );
    this.viewer.replaceChildren();
    if (at) {
      const [x, y] = this.projection([at.lon, at.lat]);
      const served = placed.get(edge);
      if (served) this.viewer.append(arc(at, served, { class: "served" }));
      this.viewer.append(el("circle", { cx: x, cy: y, r: 9 }), el("circle", { cx: x, cy: y, r: 2.5, class: "dot" }));
    }
    this.nodes.replaceChildren(...[...placed.values()].map((n) => this.#node(n)));
  }

  #node(node) {
    const [x, y] = this.projection([node.lon, node.lat]);
    const radius = node.role === "edge" ? 5 + 3 * Math.log10(1 + node.viewers) : 5;
    const below = node.role !== "edge";
    return el("g", { class: `node ${node.role} ${node.health}`, transform: `translate(${x} ${y})`, "data-node": node.id },
      el("circle", { r: radius }),
      el("text", { y: below ? radius + 13 : -radius - 6 }, label(node)),
      el("title", {}, `${node.id} (${node.role}, ${node.health})\n${count(node.viewers)} viewers, ${bits(node.egress_bps)}`));
  }
}

const label = (node) =>
  node.role === "edge" ? `${node.place.name || node.id} · ${count(node.viewers)}` : node.place.name ? `${node.role}` : node.id;

/** Nodes that stand in one place are drawn side by side, so that each can be seen. */
function spread(nodes) {
  const taken = new Map();
  return nodes.map((node) => {
    const spot = `${node.place.lat.toFixed(1)},${node.place.lon.toFixed(1)}`;
    const n = taken.get(spot) ?? 0;
    taken.set(spot, n + 1);
    return { ...node, lat: node.place.lat - 5 * n, lon: node.place.lon + 5 * n };
  });
}
