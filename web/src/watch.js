// The player's panel: what to watch and from where, what the picture does, and why this edge serves it.

import * as api from "./api.js";
import { PROTOCOLS, possible } from "./choice.js";
import { options, terms, text } from "./dom.js";
import { Explain } from "./explain.js";
import { bits, count, seconds } from "./format.js";
import { Player } from "./player.js";

const $ = (id) => document.getElementById(id);

/** Tells this page from others at the same address. */
const session = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Watch {
  #world = { nodes: [], streams: [], public_url: "" };
  #places = [];
  #asked = null; // {stream, ip}
  #stopped = false;
  #playing = { state: "idle", avoided: [] };

  /** `changed` is called when `where` or `edge` may have changed. */
  constructor(changed) {
    this.changed = changed;
    this.where = null;
    this.explain = new Explain($("explain"));
    this.player = new Player($("video"), (url) => this.#edgeAt(url), (playing) => this.#show(playing));
    for (const id of ["place", "stream", "protocol"]) $(id).addEventListener("change", () => this.#start());
    $("quality").addEventListener("change", () => (this.player.quality = $("quality").value));
    options($("protocol"), [["", "automatic"], ...possible(this.player.can).map((it) => [it, PROTOCOLS[it]])]);
    $("controls").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.player.isOn && this.#playing.state !== "blocked") this.#stop();
      else this.#start();
    });
    $("sound").addEventListener("click", () => this.#sound());
  }

  /** The edge that serves this page, when there is one. */
  get edge() {
    return this.#playing.edge;
  }

  places(places) {
    this.#places = places;
    options($("place"), [["", "my own place"], ...places.map((place) => [place.address, place.name])]);
  }

  update(world) {
    this.#world = world;
    const keys = world.streams.map((stream) => stream.key);
    const gone = this.#asked && !keys.includes(this.#asked.stream) ? [this.#asked.stream] : [];
    options($("stream"), [...gone.map((key) => [key, `${key} (off air)`]), ...keys.map((key) => [key, key])]);
    for (const id of ["stream", "play"]) $(id).disabled = keys.length + gone.length === 0;
    if (!this.#asked && !this.#stopped && keys.length) this.#start();
    this.#show(this.#playing);
    return this.#explain();
  }

  #start() {
    const asked = { stream: $("stream").value, ip: $("place").value, wish: $("protocol").value };
    if (!asked.stream) return;
    this.#asked = asked;
    this.#stopped = false;
    this.where = this.#places.find((place) => place.address === asked.ip) ?? (asked.ip === "" ? this.own : null);
    const path = asked.stream.split("/").map(encodeURIComponent).join("/");
    const at = { flv: [`${path}.flv`, { weir: 1 }] };
    this.player.play(this.#known(asked.stream), asked.wish, (protocol, ask) => {
      const [file, more] = at[protocol] ?? [`${path}.m3u8`, {}];
      return `${this.#public()}/${file}?${query({ session, ip: asked.ip, ...more, ...ask })}`;
    });
    this.#locate(asked);
  }

  /** What the scheduler knows of a stream's codecs and rungs. */
  #known(key) {
    const { tracks = [], rungs = [] } = this.#world.streams.find((stream) => stream.key === key) ?? {};
    return { codecs: tracks.map((track) => track.codec_string).filter(Boolean), rungs: rungs.length };
  }

  #stop() {
    this.#stopped = true;
    this.player.stop();
  }

  /** Asks where the scheduler takes this viewer to be: the own place is not known otherwise, a chosen one may not be allowed. */
  async #locate(asked) {
    try {
      const { place } = await api.resolve(this.#public(), query({ session, ip: asked.ip, stream: asked.stream }));
      if (this.#asked !== asked) return;
      if (asked.ip === "") this.own = place;
      this.where = place;
      const moved = asked.ip !== "" && place.address !== asked.ip;
      text($("place-note"), moved ? `The scheduler answers for your own address, ${place.address}: places can be tried from its own machine.` : "");
      await this.#explain();
      this.changed();
    } catch {
      // The player says what is wrong.
    }
  }

  async #explain() {
    if (!this.#asked || !this.where) return;
    const asked = this.#asked;
    const explanation = await api.explain(asked.stream, this.where.address).catch(() => null);
    $("explain").hidden = !explanation;
    if (explanation && this.#asked === asked) this.explain.show(explanation, this.#playing.avoided);
  }

  #show(playing) {
    const edge = this.#world.nodes.find((node) => node.id === playing.edge);
    const moved = this.#playing.edge !== playing.edge;
    this.#playing = playing;
    $("watch").dataset.edge = playing.edge ?? "";
    $("watch").dataset.state = playing.state;
    text($("play"), this.player?.isOn && playing.state !== "blocked" ? "Stop" : "Play");
    text($("notice"), this.#notice(playing));
    terms($("playing"), this.#terms(playing, edge));
    const { qualities = [] } = playing;
    $("quality").parentElement.hidden = qualities.length < 2;
    options($("quality"), [["", "automatic"], ...qualities]);
    if (moved) this.changed();
  }

  #terms(playing, edge) {
    const { protocol, latency_s, buffer_s, rate_bps, size, pictures, dropped, resumed, moved, stalls } = playing;
    const served = edge ? edge.place?.name || edge.id : playing.edge ?? (playing.lost ? "dialling again" : "–");
    const times = (n) => (n ? `${count(n)} ${n === 1 ? "time" : "times"}` : "–");
    return [
      ["Served by", playing.pathway && edge && playing.pathway !== edge.id ? `${served}, moving` : served],
      ["Protocol", PROTOCOLS[protocol] ?? "–"],
      ["Latency", latency_s === undefined ? "–" : seconds(latency_s)],
      ["Buffer", buffer_s === undefined ? "–" : seconds(buffer_s)],
      ["Receiving", rate_bps ? bits(rate_bps) : "–"],
      ["Picture", size ?? "–"],
      ["Pictures", pictures === undefined ? "–" : `${count(pictures)}, ${count(dropped)} dropped`],
      ...(protocol === "flv" ? [["Resumed", times(resumed)]] : []),
      ["Changed edge", times(moved)],
      ["Stood still", times(stalls)],
    ];
  }

  #notice({ state, reason, edge }) {
    const onAir = this.#world.streams.some((stream) => stream.key === this.#asked?.stream);
    if (state === "playing") return "";
    if (state === "waiting" && !onAir) return `${this.#asked?.stream} is not on air; waiting for its publisher`;
    if (state === "waiting") return `Dialling again: ${reason}`;
    if (state === "failed") return `Cannot play: ${reason}`;
    if (state === "blocked") return "The browser waits for a click: press Play";
    if (state === "connecting") return edge ? "Waiting for the picture" : "Connecting";
    return this.#world.streams.length ? "Stopped" : this.#nothing();
  }

  #nothing() {
    const origin = this.#world.nodes.find((node) => node.role === "origin" && node.health === "up");
    if (!this.#world.public_url) return "";
    if (!origin) return "Nothing is on air: no origin is up";
    return `Nothing is on air. Publish to ${origin.public_url || "the origin"}/live/NAME?token=…; \`weir token sign --action publish\` makes the token.`;
  }

  #sound() {
    const { video } = this.player;
    video.muted = !video.muted;
    $("sound").setAttribute("aria-pressed", String(!video.muted));
    if (this.#playing.state === "blocked") this.#start();
  }

  #public() {
    return this.#world.public_url.replace(/\/$/, "");
  }

  #edgeAt(url) {
    return this.#world.nodes.find((node) => node.role === "edge" && node.public_url && url?.startsWith(`${node.public_url}/`))?.id;
  }
}

/** The query's text, without what is empty. */
const query = (entries) => new URLSearchParams(Object.entries(entries).filter(([, value]) => value));
