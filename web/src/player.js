// The player: an engine for the protocol at hand, and who watches over it. A new engine is made when the one that plays
// says that only a new one can go on, when the picture stands still although nothing is known to be wrong, and when
// another protocol is wanted. Each new one asks the scheduler, after a wait that grows (dial.js).
//
// An engine is `new Engine(video, {address, edgeAt, dial, on})`:
// - `address({exclude, resume, playing})` is the URL to ask the scheduler with, `edgeAt(url)` names the edge that answers there;
// - `on` has `connected(edge)`, `resumed()`, `moved()`, `lost(reason)`, `unsupported(codecs)`, and
//   `anew(reason, edge, status)` when only a new one can go on;
// - `latency(buffer_s)`, `rate_bps`, and perhaps `pathway`, `qualities` and `quality` are what it tells;
// - `pace(buffer_s)` is called as the picture moves, `close()` at last.

import { browser, choose, refusal } from "./choice.js";
import { Dial } from "./dial.js";

const STALL_MS = 6000; // longer than the gap between key frames at common encoder settings
const TICK_MS = 500;
const ENGINES = {
  flv: async () => (await import("./engine/flv.js")).default,
  "ll-hls": async () => (await import("./engine/hls.js")).LowLatency,
  hls: async () => (await import("./engine/hls.js")).Segments,
  native: async () => (await import("./engine/native.js")).default,
};

export class Player {
  #wanted = null; // {stream, wish, address}
  #life = null; // of the engine that counts: one that is to be replaced shows its last pictures and says no more
  #engine = null;
  #dial = new Dial();
  #counts = {};
  #lost = null; // why there is no connection, while the buffer is played on
  #state = { state: "idle" };

  /** `edgeAt` names the edge of a URL; `changed` is called with what is known whenever some of it changes. */
  constructor(video, edgeAt, changed) {
    Object.assign(this, { video, edgeAt, changed, can: browser() });
    setInterval(() => this.#watch(), TICK_MS);
    video.addEventListener("timeupdate", () => this.#engine?.pace(this.#buffer()));
    video.addEventListener("waiting", () => this.#dry());
  }

  get isOn() {
    return this.#wanted !== null;
  }

  /** `stream` has `codecs` and `rungs`, `wish` is a protocol or empty, `address(protocol, ask)` the URL to ask with. */
  play(stream, wish, address) {
    this.#wanted = { stream, wish, address };
    this.#dial = new Dial();
    this.#counts = { resumed: 0, moved: 0, stalls: 0 };
    this.#make();
  }

  stop() {
    this.#wanted = null;
    this.#close();
    this.#report({ state: "idle" });
  }

  /** One of the qualities that were told of, or empty. */
  set quality(number) {
    if (this.#engine?.qualities) this.#engine.quality = number;
  }

  async #make() {
    this.#close();
    const { stream, wish, address } = this.#wanted;
    const { protocol, refusal } = choose(wish, stream, this.can);
    if (refusal) return this.#report({ state: "failed", reason: refusal });
    this.#report({ state: "connecting", protocol });
    const life = (this.#life = {});
    this.moved = Infinity; // before it is connected the engine keeps the time
    this.at = 0;
    try {
      const Engine = await ENGINES[protocol]();
      if (life !== this.#life) return;
      const asking = { address: (ask) => address(protocol, ask), edgeAt: this.edgeAt, dial: this.#dial, on: this.#listener(life) };
      this.#engine = new Engine(this.video, asking);
    } catch (error) {
      if (life === this.#life) this.#again(`the player failed: ${error.message}`);
      return;
    }
    this.video.play()?.catch((error) => {
      if (life === this.#life && error.name === "NotAllowedError") this.#report({ ...this.#state, state: "blocked" });
    });
  }

  #listener(life) {
    const on = {
      connected: (edge) => this.#connected(edge),
      resumed: () => this.#count("resumed"),
      moved: () => this.#count("moved"),
      lost: (reason) => this.#lose(reason),
      unsupported: (codecs) => this.#refuse(codecs),
      anew: (reason, edge, status) => this.#again(reason, edge ?? this.#state.edge, status),
    };
    const current = ([name, handle]) => [name, (...what) => life === this.#life && handle(...what)];
    return Object.fromEntries(Object.entries(on).map(current));
  }

  #connected(edge = this.#state.edge) {
    this.#lost = null;
    this.moved = performance.now();
    if (this.#state.state !== "playing") this.#dial.connected();
    const { state } = this.#state;
    this.#report({ ...this.#state, edge, state: state === "waiting" ? "connecting" : state });
  }

  #count(what) {
    this.#counts[what] += 1;
    this.#report(this.#state);
  }

  /** The engine dials again by itself; the picture goes on while the buffer lasts. */
  #lose(reason) {
    this.#lost = reason;
    const { state } = this.#state;
    this.#report({ ...this.#state, edge: undefined, reason, state: state === "connecting" ? "waiting" : state });
  }

  /** Another protocol may carry it; where none was wished for, that is tried. */
  #refuse(codecs) {
    const { protocol } = this.#state;
    const known = codecs.length ? codecs : this.#wanted.stream.codecs;
    if (protocol === "flv" && !this.#wanted.wish && this.can.hls) {
      this.#wanted.wish = "ll-hls";
      return this.#make();
    }
    this.#close();
    this.#report({ state: "failed", protocol, reason: refusal(known) });
  }

  /** A new engine, after a while; `edge` is not asked again soon. */
  #again(reason, edge, status) {
    const wait = this.#dial.failed(status === 404 ? undefined : edge);
    if (status === 404 || (status === 503 && !edge)) this.#dial.forgive();
    this.#life = null;
    this.#report({ state: "waiting", reason, protocol: this.#state.protocol });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#make(), wait);
  }

  /** Notices progress, and that there is none. */
  #watch() {
    const { state, edge } = this.#state;
    if (!this.#life || !this.#engine || state === "blocked") return;
    const now = performance.now();
    const moved = this.video.currentTime !== this.at;
    if (moved) this.#report({ ...this.#state, state: "playing", ...this.#seen() });
    this.at = this.video.currentTime;
    if (moved || document.hidden) this.moved = now; // a hidden page is given no time
    else if (this.#lost !== null) this.#report({ ...this.#state, state: "waiting", reason: this.#lost });
    else if (now - this.moved > STALL_MS) this.#again(`no new picture for ${STALL_MS / 1000} s`, edge);
  }

  #seen() {
    const { video } = this;
    const buffer_s = this.#buffer();
    const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality?.() ?? {};
    const { rate_bps, pathway, qualities = [], quality = "" } = this.#engine;
    const size = video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : undefined;
    const latency_s = this.#engine.latency(buffer_s);
    return { buffer_s, latency_s, rate_bps, pathway, qualities, quality, size, pictures: totalVideoFrames, dropped: droppedVideoFrames };
  }

  /** The picture waits for bytes, having played. */
  #dry() {
    if (this.#state.state === "playing" && !this.video.seeking) this.#count("stalls");
  }

  #buffer() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? Math.max(0, buffered.end(buffered.length - 1) - currentTime) : 0;
  }

  #close() {
    clearTimeout(this.timer);
    this.#life = null;
    this.#engine?.close();
    this.#engine = null;
    this.#lost = null;
    this.video.playbackRate = 1;
  }

  #report(state) {
    this.#state = state;
    this.changed({ ...state, ...this.#counts, lost: this.#lost, avoided: this.#dial.avoided });
  }
}
