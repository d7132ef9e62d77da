// Why the scheduler sends a viewer where it does: every edge with what counted, as `weir explain` prints it.

import { Table, text } from "./dom.js";
import { kilometres, milliseconds, percent } from "./format.js";

const WHY = {
  nearest: "the nearest usable edge",
  drawn: "drawn from equally near edges",
  cheaper: "cheaper, and within the policy's slack",
  explored: "within the policy's slack, drawn to measure the path",
  kept: "the viewer was there before",
};
const LOST = {
  down: "down: silent or gone",
  draining: "draining: takes no new viewers",
  excluded: "excluded by the viewer",
  viewers_full: "full: viewers at the limit",
  egress_full: "full: egress at the limit",
  denied: "denied by the policy",
  not_allowed: "not allowed by the policy",
  residency: "not in a country that the policy allows",
  too_dear: "dearer than the policy allows",
  capped: "the policy's cap is reached",
  farther: "farther than the policy's slack",
  dearer: "usable, but others cost less",
  not_drawn: "in the lottery, another was drawn",
  ahead_of_share: "drawn, but ahead of its share",
  kept_elsewhere: "usable; the viewer stays",
};
const MOST = 12; // of hundreds of edges the nearest tell the story

export class Explain {
  constructor(section) {
    this.sentence = section.querySelector("p");
    this.table = new Table(section.querySelector("tbody"), {
      key: (it) => it.edge,
      empty: "no edge is known",
      mark: (it) => (it.lost ? "" : "chosen"),
      columns: [
        { text: (it) => it.place || it.edge },
        { text: (it) => kilometres(it.distance_km), class: "n" },
        { text: (it) => milliseconds(it.rtt_ms), class: "n" },
        { text: (it) => percent(it.load), class: "n" },
        { text: (it) => it.price.toFixed(2), class: "n" },
        { text: (it) => (it.cost === null ? "–" : it.cost.toFixed(2)), class: "n" },
        { text: (it) => percent(it.chance), class: "n" },
        { text: (it) => (it.lost ? LOST[it.lost] ?? it.lost : "chosen") },
      ],
    });
  }

  /** `avoided` are the edges that the player asks not to be sent to. */
  show({ place, reason, candidates }, avoided) {
    const named = [place.name, place.country].filter(Boolean).join(", ");
    const where = named ? `${named}${place.approximate ? ", roughly" : ""}` : "place unknown";
    const answer = reason ? `${candidates[0].edge}, ${WHY[reason] ?? reason}` : "no edge can take it";
    const but = avoided.length ? ` This page's player avoids ${avoided.join(", ")} for now: the connection there failed.` : "";
    text(this.sentence, `A viewer at ${place.address} (${where}) is sent to ${answer}.${but}`);
    this.table.show(candidates.slice(0, MOST));
  }
}
