// The player: one MediaSource, fed by a Loader that outlives connections and edges. It is made anew only when time
// begins anew (the publisher's next life), when so much was missed that bridging it makes no sense, when the picture
// stands still although bytes come, or when the browser's decoder fails.

import mpegts from "mpegts.js";
import { Dial } from "./dial.js";
import { Loader } from "./loader.js";
import { Splice } from "./splice.js";

const STALL_MS = 6000; // longer than the gap between key frames at common encoder settings
const TICK_MS = 500;
const TARGET_S = 1; // what shall be buffered: a change of edges takes less, and the viewer is hardly later for it
const NEAR_S = 0.6; // with less, play slower up to the target
const FAR_S = 2.5; // with more, play faster down to the target
const JUMP_S = 6; // with more, playing faster takes too long
const SLOWER = 0.95; // neither is heard
const FASTER = 1.1;

mpegts.LoggingControl.enableAll = false; // what matters is shown on the page

export class Player {
  #address = null;
  #life = null; // of the player that counts: one that is to be replaced shows its last pictures and says no more
  #dial = new Dial();
  #resumed = 0;
  #lost = null; // why there is no connection, while the buffer is played on
  #state = { state: "idle" };

  /** `edgeAt` names the edge of a URL; `changed` is called with what is known whenever some of it changes. */
  constructor(video, edgeAt, changed) {
    Object.assign(this, { video, edgeAt, changed });
    setInterval(() => this.#watch(), TICK_MS);
    video.addEventListener("timeupdate", () => this.#pace());
  }

  get isOn() {
    return this.#address !== null;
  }

  /** `address({exclude, resume})` is the URL to ask for a redirect: without those edges, from after that frame on. */
  play(address) {
    this.#address = address;
    this.#dial = new Dial();
    this.#resumed = 0;
    this.#make();
  }

  stop() {
    this.#address = null;
    this.#close();
    this.#report({ state: "idle" });
  }

  #make() {
    this.#close();
    this.#report({ state: "connecting" });
    const life = (this.#life = {});
    const current = (handle) => (...what) => life === this.#life && handle(...what);
    const on = {
      connected: current((edge) => this.#connected(edge)),
      resumed: current(() => this.#resume()),
      lost: current((reason) => this.#lose(reason)),
      anew: current((reason, edge) => this.#again(reason, edge)),
    };
    const player = mpegts.createPlayer({ type: "flv", isLive: true, url: this.#address({}), cors: true }, {
      customLoader: Loader,
      weir: { address: this.#address, edgeAt: this.edgeAt, dial: this.#dial, splice: new Splice(), on },
      enableStashBuffer: false,
      autoCleanupSourceBuffer: true,
    });
    this.player = player;
    this.moved = Infinity; // before it is connected the loader keeps the time
    this.at = 0;
    player.on(mpegts.Events.STATISTICS_INFO, current((stats) => this.#report({ ...this.#state, stats })));
    player.on(mpegts.Events.ERROR, current((_kind, detail) => this.#failed(detail)));
    player.attachMediaElement(this.video);
    player.load();
    player.play()?.catch(current((error) => {
      if (error.name === "NotAllowedError") this.#report({ ...this.#state, state: "blocked" });
    }));
  }

  #connected(edge) {
    this.#lost = null;
    this.moved = performance.now();
    const { state } = this.#state;
    this.#report({ ...this.#state, edge, state: state === "waiting" ? "connecting" : state });
  }

  /** The loader dials again by itself; the picture goes on while the buffer lasts. */
  #lose(reason) {
    this.#lost = reason;
    const { state } = this.#state;
    this.#report({ ...this.#state, edge: undefined, reason, state: state === "connecting" ? "waiting" : state });
  }

  #resume() {
    this.#resumed += 1;
    this.#report(this.#state);
  }

  #failed(detail) {
    const unsupported = [mpegts.ErrorDetails.MEDIA_CODEC_UNSUPPORTED, mpegts.ErrorDetails.MEDIA_FORMAT_UNSUPPORTED];
    if (!unsupported.includes(detail)) return this.#again(`${detail}`, this.#state.edge);
    this.#close();
    this.#report({ state: "failed", reason: "this browser cannot play the stream's codec" });
  }

  /** A new player, after a while; `edge` is not asked again soon. */
  #again(reason, edge) {
    const wait = this.#dial.failed(edge);
    this.#life = null;
    this.#report({ state: "waiting", reason });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#make(), wait);
  }

  /** Notices progress, and that there is none. */
  #watch() {
    const { state, edge } = this.#state;
    if (!this.#life || state === "blocked") return;
    const now = performance.now();
    const moved = this.video.currentTime !== this.at;
    if (moved) this.#report({ ...this.#state, state: "playing", behind_s: this.#behind() });
    this.at = this.video.currentTime;
    if (moved || document.hidden) this.moved = now; // a hidden page is given no time
    else if (this.#lost !== null) this.#report({ ...this.#state, state: "waiting", reason: this.#lost });
    else if (now - this.moved > STALL_MS) this.#again(`no new picture for ${STALL_MS / 1000} s`, edge);
  }

  #behind() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? Math.max(0, buffered.end(buffered.length - 1) - currentTime) : 0;
  }

  /** Keeps enough buffered for a change of edges, and for long no more than that. */
  #pace() {
    const { video } = this;
    const behind = this.#behind();
    const isThere = video.playbackRate > 1 ? behind <= TARGET_S : behind >= TARGET_S;
    if (behind > JUMP_S) video.currentTime += behind - TARGET_S;
    else if (behind > FAR_S) video.playbackRate = FASTER;
    else if (behind < NEAR_S) video.playbackRate = SLOWER;
    else if (isThere) video.playbackRate = 1;
  }

  #close() {
    clearTimeout(this.timer);
    this.player?.destroy();
    this.player = null;
    this.#life = null;
    this.#lost = null;
  }

  #report(state) {
    this.#state = state;
    this.changed({ ...state, resumed: this.#resumed, lost: this.#lost, avoided: this.#dial.avoided });
  }
}
