// The console: one page that shows what the cluster does and lets one watch as a viewer of any place.

import "./style.css";
import * as api from "./api.js";
import { Table, terms, text } from "./dom.js";
import { bits, count, duration, milliseconds, percent } from "./format.js";
import { Forecast } from "./forecast.js";
import { Plan } from "./plan.js";
import { Policy } from "./policy.js";
import { askForToken } from "./gate.js";
import { WorldMap } from "./map.js";
import { Watch } from "./watch.js";

const REFRESH_MS = 1000; // the nodes' telemetry has the same step
const SAY_MS = 6000; // long enough to read a line
const $ = (id) => document.getElementById(id);

let world = { nodes: [], streams: [], links: [], public_url: "" };
let heard = null;
let saidUntil = 0;

const map = new WorldMap($("map"));
const watch = new Watch(() => drawMap());
const sections = [new Forecast(), new Plan((plan) => map.price(plan)), new Policy()];
const nodes = new Table($("nodes").querySelector("tbody"), {
  key: (node) => node.id,
  empty: "no node has registered yet",
  columns: [
    { text: (node) => node.id },
    { text: (node) => node.role, class: "wide" },
    { text: health, class: (node) => `health ${node.health}` },
    { text: (node) => count(node.viewers), class: "n" },
    { text: (node) => bits(node.egress_bps), class: "n" },
    { text: (node) => percent(node.load), class: "n wide" },
    { text: (node) => percent(node.cpu), class: "n wide wider" },
    { text: relay, class: "n wide" },
    { button: drainButton, class: "n" },
  ],
});
const streams = new Table($("streams").querySelector("tbody"), {
  key: (stream) => stream.key,
  empty: "nothing is on air",
  columns: [
    { text: (stream) => stream.key },
    { text: (stream) => stream.tracks.map(track).join(", "), class: "wide" },
    { text: (stream) => stream.origin, class: "wide" },
    { text: (stream) => bits(stream.bitrate_bps), class: "n" },
    { text: (stream) => count(stream.viewers), class: "n" },
    { text: (stream) => duration(Date.now() - stream.started_ms), class: "n" },
  ],
});

async function refresh() {
  try {
    if (!watch.hasPlaces) {
      watch.places(await api.places());
      watch.hasPlaces = true;
    }
    world = await api.overview();
    heard = Date.now();
    draw();
    await watch.update(world);
    for (const section of sections) await section.update();
  } catch (fault) {
    if (fault.status === 401) await askForToken();
    else trouble(fault);
  }
  setTimeout(refresh, REFRESH_MS);
}

function draw() {
  document.body.classList.remove("stale");
  if (Date.now() > saidUntil) say("", false, 0);
  const edges = world.nodes.filter((node) => node.role === "edge");
  terms($("totals"), [
    ["Viewers", count(sum(edges, "viewers"))],
    ["Egress", bits(sum(edges, "egress_bps"))],
    ["Streams", count(world.streams.length)],
    ["Edges up", `${edges.filter((node) => node.health === "up").length} of ${edges.length}`],
  ]);
  nodes.show(world.nodes);
  streams.show(world.streams);
  drawMap();
}

function drawMap() {
  map.show(world.nodes, world.links, watch.where, watch.edge);
}

/** What was last known stays on the page, marked as old. */
function trouble(fault) {
  document.body.classList.add("stale");
  const age = heard === null ? "" : `; this is ${Math.round((Date.now() - heard) / 1000)} s old, pictures go on without it`;
  say(fault.status ? `The scheduler says: ${fault.message}` : `The scheduler does not answer${age}.`, true, 0);
}

function say(words, isBad, forMs) {
  text($("status"), words);
  $("status").classList.toggle("bad", isBad);
  saidUntil = Date.now() + forMs;
}

function drainButton(node) {
  if (node.role !== "edge" || node.health === "down") return null;
  const drained = node.health === "draining";
  return {
    text: drained ? "Undo" : "Drain",
    title: drained ? `let ${node.id} take new viewers again` : `send no new viewers to ${node.id}`,
    press: () =>
      api.drain(node.id, !drained).then(
        () => say(drained ? `${node.id} takes viewers again.` : `${node.id} takes no new viewers; those it has go on.`, false, SAY_MS),
        (fault) => say(fault.message, true, SAY_MS),
      ),
  };
}

function health(node) {
  return node.health === "down" ? `down, ${duration(node.seen_ms_ago)}` : node.health;
}

function relay(node) {
  const links = world.links.filter((link) => link.to === node.id);
  return links.map((link) => `${link.from} ${milliseconds(link.rtt_ms)}`).join(", ") || "–";
}

const track = (it) =>
  it.width ? `${it.codec_string} ${it.width}×${it.height}` : `${it.codec_string} ${it.sample_rate / 1000} kHz`;
const sum = (list, field) => list.reduce((total, item) => total + (item[field] ?? 0), 0);

refresh();
