// The console: one page that shows what the cluster does and lets one watch as a viewer of any place.

import "./style.css";
import * as api from "./api.js";
import { el, options, terms } from "./dom.js";
import { bits, count, duration, percent } from "./format.js";
import { WorldMap } from "./map.js";
import { Player } from "./player.js";

const REFRESH_MS = 1000; // the nodes' telemetry has the same step
const $ = (id) => document.getElementById(id);

const map = new WorldMap($("map"));
let world = { nodes: [], streams: [], links: [], public_url: "" };
let places = [];
let watching = null; // {edge}

const player = new Player($("video"), ({ state, served, stats }) => {
  const edge = served && world.nodes.find((n) => n.public_url && served.startsWith(`${n.public_url}/`));
  watching = { edge: edge?.id };
  $("watch").dataset.edge = edge?.id ?? "";
  $("notice").textContent = state === "playing" ? "" : state;
  terms($("playing"), [
    ["Served by", edge ? edge.place?.name || edge.id : "…"],
    ["Receiving", stats ? bits(stats.speed * 8000) : "…"],
    ["Pictures", stats ? `${count(stats.decodedFrames)} shown, ${count(stats.droppedFrames)} dropped` : "…"],
  ]);
});

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("place").addEventListener("change", start);
$("stream").addEventListener("change", start);
$("sound").addEventListener("click", () => {
  $("video").muted = !$("video").muted;
  $("sound").setAttribute("aria-pressed", String(!$("video").muted));
});

function start() {
  const stream = $("stream").value;
  if (!stream) return;
  const address = $("place").value;
  player.play(`${publicUrl()}/${stream}.flv${address ? `?ip=${encodeURIComponent(address)}` : ""}`);
}

/** The scheduler's public URL, by the name under which this page was reached when that is not this machine alone. */
const publicUrl = () => world.public_url.replace(/\/$/, "");

async function refresh() {
  try {
    world = await api.overview();
    $("status").textContent = "";
    $("status").className = "";
    draw();
  } catch (error) {
    $("status").textContent = `the scheduler does not answer: ${error.message}`;
    $("status").className = "bad";
  }
  setTimeout(refresh, REFRESH_MS);
}

function draw() {
  const edges = world.nodes.filter((n) => n.role === "edge");
  terms($("totals"), [
    ["Viewers", count(sum(edges, "viewers"))],
    ["Egress", bits(sum(edges, "egress_bps"))],
    ["Streams", count(world.streams.length)],
    ["Edges up", `${edges.filter((n) => n.health === "up").length} of ${edges.length}`],
  ]);
  map.show(world.nodes, world.links, places.find((p) => p.address === $("place").value), watching?.edge);
  options($("stream"), world.streams.map((s) => [s.key, s.key]));
  $("nodes").querySelector("tbody").replaceChildren(...world.nodes.map(nodeRow));
  $("streams").querySelector("tbody").replaceChildren(...rows(world.streams.map(streamRow), 6, "nothing is on air"));
}

function nodeRow(node) {
  const drained = node.health === "draining";
  const button = node.role !== "edge" ? "" : el("button", {
    type: "button",
    title: drained ? "let this edge take new viewers again" : "send no new viewers to this edge",
    onclick: () => api.drain(node.id, !drained).catch((error) => ($("status").textContent = error.message)),
  }, drained ? "Undo" : "Drain");
  return el("tr", {},
    el("td", {}, node.id),
    el("td", {}, node.role),
    el("td", {}, el("span", { class: `health ${node.health}` }, node.health)),
    el("td", { class: "n" }, count(node.viewers)),
    el("td", { class: "n" }, bits(node.egress_bps)),
    el("td", { class: "n" }, percent(node.cpu)),
    el("td", { class: "n" }, button));
}

function streamRow(stream) {
  const tracks = stream.tracks.map((t) => (t.width ? `${t.codec_string} ${t.width}×${t.height}` : `${t.codec_string} ${t.sample_rate / 1000} kHz`));
  return el("tr", {},
    el("td", {}, stream.key),
    el("td", {}, tracks.join(", ")),
    el("td", {}, stream.origin),
    el("td", { class: "n" }, bits(stream.bitrate_bps)),
    el("td", { class: "n" }, count(stream.viewers)),
    el("td", { class: "n" }, duration(Date.now() - stream.started_ms)));
}

const rows = (list, columns, empty) => (list.length ? list : [el("tr", {}, el("td", { colspan: columns, class: "empty" }, empty))]);
const sum = (list, field) => list.reduce((total, item) => total + (item[field] ?? 0), 0);

async function load() {
  places = await api.places().catch(() => []);
  options($("place"), [["", "my own place"], ...places.map((p) => [p.address, p.name])]);
  await refresh();
  start();
}
load();
