// What was and what is expected: a series' past, what was forecast of it in time, and the fan of what comes.

import "uplot/dist/uPlot.min.css";
import uPlot from "uplot";
import * as api from "./api.js";
import { options, terms, text } from "./dom.js";
import { bits, count, percent } from "./format.js";
import { curves, title, values } from "./fan.js";

const LIST_MS = 30_000; // series come and go by the minute
const HEIGHT = 260;
const CSS = getComputedStyle(document.documentElement);
const colour = (name) => CSS.getPropertyValue(name).trim();
const $ = (id) => document.getElementById(id);

/** The section; asks only while it is on screen. */
export class Forecast {
  #plot = null;
  #made = null;
  #listed = 0;
  #marks = { events: [], surge: null };
  #visible = true;

  constructor() {
    new IntersectionObserver(([entry]) => (this.#visible = entry.isIntersecting)).observe($("forecast"));
    new ResizeObserver(() => this.#plot?.setSize({ width: $("fan").clientWidth, height: HEIGHT })).observe($("fan"));
    for (const id of ["series", "span"]) $(id).addEventListener("change", () => this.#show().catch(() => {}));
  }

  /** Asks for what is new. */
  async update() {
    if (!this.#visible) return;
    try {
      if (Date.now() - this.#listed > LIST_MS) await this.#list();
      if ($("series").value) await this.#show(true);
    } catch (fault) {
      if (fault.status !== 404) throw fault;
      this.#listed = 0; // what was chosen is gone
    }
  }

  async #list() {
    const { series, horizons_s } = await api.forecast("");
    const names = series.map(({ series: id }) => [id, title(id)]);
    names.sort((a, b) => order(a[0]) - order(b[0]) || a[1].localeCompare(b[1]));
    options($("series"), names);
    $("series").disabled = names.length === 0;
    this.#note(names.length ? "" : horizons_s.length ? "Nothing is forecast yet: the history has no whole step." : "[time] history_step fits no horizon.");
    if (names.length) this.#listed = Date.now();
  }

  async #show(isRefresh = false) {
    const id = $("series").value;
    const answer = await api.forecast(id);
    const one = answer.series.find((it) => it.series === id);
    if (!one || (isRefresh && one.made_at_ms === this.#made)) return;
    this.#made = one.made_at_ms;
    const [trail, events] = await Promise.all([api.trail(id), api.events()]);
    const scale = stretch(one); // calendar seconds in a real one
    const past = await api.past(id, -Number($("span").value) / scale);
    if ($("series").value !== id) return;
    this.#marks = { events: events.filter((event) => concerns(event, id)), surge: surgeOf(answer, id) };
    this.#draw(id, curves(past, trail, one));
    this.#tell(answer, one, trail);
  }

  #draw(id, data) {
    const format = values(id, { bits, count, percent });
    if (this.#plot?.id !== id) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(format), data, $("fan"));
      this.#plot.id = id;
    } else this.#plot.setData(data);
  }

  #options(format) {
    const [accent, up, dim, line] = ["--accent", "--up", "--dim", "--line"].map(colour);
    const value = (_, v) => (v == null ? "–" : format(v));
    const hidden = { stroke: "transparent", width: 0, points: { show: false }, value, spanGaps: true };
    const axis = { stroke: dim, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    return {
      width: $("fan").clientWidth,
      height: HEIGHT,
      padding: [14, 8, 0, 0],
      legend: { live: true },
      cursor: { y: false, drag: { x: true, y: false } },
      scales: { y: { range: (_, low, high) => [0, (Number.isFinite(high) && high > 0 ? high : 1) * 1.08] } },
      axes: [{ ...axis, space: 70, values: (_, ticks) => ticks.map((at, nth) => clock(at, ticks[nth + 1] ?? at + 60)) }, { ...axis, size: 74, values: (_, ticks) => ticks.map(format) }],
      series: [
        { value: (_, v) => (v == null ? "–" : new Date(v * 1000).toLocaleString("en-GB")) },
        { label: "99 %", ...hidden },
        { label: "90 %", ...hidden },
        { label: "expected", stroke: up, width: 2, dash: [5, 4], points: { show: false }, spanGaps: true, value },
        { label: "90 % then", ...hidden },
        { label: "expected then", stroke: `${up}99`, width: 1, points: { show: false }, value },
        { label: "was", stroke: accent, width: 2, points: { show: false }, value },
      ],
      bands: [
        { series: [1, 2], fill: `${up}1f` },
        { series: [2, 3], fill: `${up}40` },
        { series: [4, 5], fill: `${up}1f` },
      ],
      hooks: { draw: [(plot) => this.#drawMarks(plot)] },
    };
  }

  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const at = (ms) => plot.valToPos(ms / 1000, "x", true);
    const inside = (x) => x >= bbox.left && x <= bbox.left + bbox.width;
    const line = (x, stroke, dash, words) => {
      if (!inside(x)) return;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = stroke;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash(dash);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = x > bbox.left + bbox.width * 0.7 ? "right" : "left";
      ctx.fillText(words, x + (ctx.textAlign === "right" ? -4 : 4) * devicePixelRatio, bbox.top + 11 * devicePixelRatio);
      ctx.restore();
    };
    line(at(this.#made), colour("--dim"), [2, 3], "now");
    for (const event of this.#marks.events) {
      line(at(event.start_ms), colour("--draining"), [], `${event.stream} ${count(event.expected_peak)}`);
    }
    if (this.#marks.surge !== null) line(at(this.#marks.surge), colour("--down"), [], "unannounced crowd");
  }

  #tell(answer, one, trail) {
    const format = values(one.series, { bits, count, percent });
    const ahead = (it) => [`in ${minutes(it.horizon_s)}`, `${format(it.median)}, at most ${format(it.at_risk)}`];
    const best = (it) => Object.entries(it.experts).sort((a, b) => b[1] - a[1])[0];
    const middle = one.forecasts[Math.floor(one.forecasts.length / 2)];
    const [name, share] = (middle && best(middle)) ?? ["nobody", 0];
    terms($("ahead"), [
      ...one.forecasts.map(ahead),
      ["planned for", `${percent(one.risk)}${one.surge ? ", a crowd comes" : ""}`],
      ["leads", `${name.replaceAll("_", " ")} ${percent(share)}`],
      ["model", answer.model ? `${age(answer.model.age_s)} old` : "none yet"],
    ]);
    this.#note(`The thin line is what was expected ${minutes(trail.horizon_s)} before; shades reach up to what is not passed in 90 and 99 of 100 cases.`);
  }

  #note(words) {
    text($("fan-note"), words);
  }
}

/** A tick as the hour, with seconds where ticks are closer than a minute. */
const clock = (at, next) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: next - at < 60 ? "2-digit" : undefined });
const order = (id) => ["total", "region", "node", "stream"].indexOf(id.split("/")[0]);

/** Calendar seconds in a real one, by how far ahead a horizon is in both. */
function stretch(one) {
  const at = one.forecasts[0];
  const real_s = at ? (at.for_ms - one.made_at_ms) / 1000 : 0;
  return real_s > 0 ? at.horizon_s / real_s : 1;
}

/** Whether an event is one of a series, as far as its name tells. */
const concerns = (event, id) =>
  id.startsWith("stream/") ? id === `stream/${event.stream}/viewers` : !id.startsWith("node/") && (!event.region || id.startsWith("total/") || id === `region/${event.region}/demand`);

const surgeOf = (answer, id) => answer.surges.find((it) => id.startsWith(`${it.of}/`))?.since_ms ?? null;
const minutes = (s) => (s % 3600 ? `${s / 60} min` : `${s / 3600} h`);
const age = (s) => (s < 7200 ? `${Math.round(s / 60)} min` : s < 172_800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86_400)} d`);
