// The plan: what each edge costs and is to carry, the bills so far, and where regions' viewers go.

import * as api from "./api.js";
import { Table, terms, text } from "./dom.js";
import { bits, count, milliseconds, percent } from "./format.js";

const EVERY_MS = 5000; // plans are made each control slot, 30 s unless scaled
const MOST = 40; // of a thousand regions those with the most demand tell the story
const $ = (id) => document.getElementById(id);

/** The section; asks only while the page is looked at, since the map shows prices too. */
export class Plan {
  #asked = 0;

  /** `told` is called with each plan that is new. */
  constructor(told) {
    this.told = told;
    this.edges = new Table($("prices").querySelector("tbody"), {
      key: (edge) => edge.id,
      empty: "no edge takes viewers",
      columns: [
        { text: (edge) => edge.id },
        { text: (edge) => price(edge.money), class: "n" },
        { text: (edge) => price(edge.scarcity), class: (edge) => (edge.scarcity > SCARCE ? "n scarce" : "n") },
        { text: (edge) => bits(edge.planned_bps), class: "n" },
        { text: (edge) => (edge.capacity_bps ? percent(edge.planned_bps / edge.capacity_bps) : "–"), class: "n wide" },
        { text: (edge) => (edge.model === "p95" && edge.level_bps !== null ? bits(edge.level_bps) : "–"), class: "n wide" },
        { text: free, class: "n wide wider" },
        { text: (edge) => dollars(edge.usd_so_far), class: "n" },
        { text: (edge) => dollars(edge.usd_expected), class: "n" },
      ],
    });
    this.regions = new Table($("splits").querySelector("tbody"), {
      key: (region) => region.region,
      empty: "no region asks for anything",
      columns: [
        { text: (region) => region.region },
        { text: (region) => bits(region.now_bps), class: "n" },
        { text: (region) => bits(region.expected_bps[1]), class: "n wide" },
        { text: (region) => region.ways.map(way).join(", ") || "nobody" },
      ],
    });
  }

  /** Asks for what is new. */
  async update() {
    if (document.hidden || Date.now() - this.#asked < EVERY_MS) return;
    this.#asked = Date.now();
    const plan = await api.plan();
    this.told(plan);
    const { figures } = plan;
    const sum = (field) => plan.edges.reduce((total, edge) => total + edge[field], 0);
    terms($("figures"), [
      ["billed so far", dollars(sum("usd_so_far"))],
      ["expected", dollars(sum("usd_expected"))],
      ["RTT", `${milliseconds(figures.rtt_p50_ms)}, ${milliseconds(figures.rtt_p95_ms)} for 95 %`],
      ["beyond the nearest", milliseconds(figures.extra_rtt_ms)],
      ["no room for", bits(figures.overload_bps)],
      ["gap to the optimum", `${(figures.gap * 100).toFixed(2)} % at most`],
    ]);
    this.edges.show(plan.edges);
    this.regions.show(plan.regions.toSorted((a, b) => b.now_bps - a.now_bps).slice(0, MOST));
    text($("plan-note"), plan.made_ms ? `Made ${Math.round((Date.now() - plan.made_ms) / 1000)} s ago in ${milliseconds(plan.took_ms)}. Prices are in units of the edges' mean price: money is what one bit more costs, scarcity what the last room is worth.` : "No plan was made yet.");
  }
}

const SCARCE = 0.05;
const price = (value) => value.toFixed(2);
const dollars = (usd) => `$${count(Math.round(usd))}`;
const way = ({ edge, share, rtt_ms }) => `${edge} ${percent(share)} (${milliseconds(rtt_ms)})`;
const free = ({ model, free_slots, slots: [all] }) => (model === "p95" ? `${count(free_slots)} of ${count(Math.floor(all / 20))}` : "–");
