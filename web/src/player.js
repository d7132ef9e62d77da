// The player: asks the scheduler like any viewer and follows its redirect. When the connection breaks or the picture
// stands still it asks again, and asks not to be sent to the edge that failed.

import mpegts from "mpegts.js";

const BACKOFF_MS = [200, 500, 1000, 2000, 5000]; // the first dial again is at once for the eye; later ones spare the scheduler
const STALL_MS = 6000; // longer than the gap between key frames at common encoder settings
const AVOID_MS = 30_000; // by then the scheduler knows by itself whether the edge is well
const TICK_MS = 500;
const BEHIND_S = 6; // further behind, catching up by playing faster takes too long: jump
const AHEAD_S = 1; // what stays buffered after a jump

mpegts.LoggingControl.enableAll = false; // what matters is shown on the page

export class Player {
  #address = null;
  #avoid = new Map(); // edge id to when it may be used again
  #failures = 0;
  #state = { state: "idle" };

  /** `edgeAt` names the edge of a URL; `changed` is called with what is known whenever some of it changes. */
  constructor(video, edgeAt, changed) {
    Object.assign(this, { video, edgeAt, changed });
    setInterval(() => this.#watch(), TICK_MS);
    video.addEventListener("timeupdate", () => this.#chase());
  }

  get isOn() {
    return this.#address !== null;
  }

  /** `address(avoided)` is the URL to ask for a redirect, `avoided` the ids of edges not to be sent to. */
  play(address) {
    this.#address = address;
    this.#avoid.clear();
    this.#failures = 0;
    this.#dial();
  }

  stop() {
    this.#address = null;
    this.#close();
    this.#report({ state: "idle" });
  }

  #dial() {
    this.#close();
    this.#report({ state: "connecting" });
    const url = this.#address(this.#avoided());
    const player = mpegts.createPlayer({ type: "flv", isLive: true, url, cors: true }, {
      enableStashBuffer: false,
      autoCleanupSourceBuffer: true,
      reuseRedirectedURL: false,
      liveSync: true,
      liveSyncMaxLatency: 2.5,
      liveSyncTargetLatency: 1.2,
      liveSyncPlaybackRate: 1.1,
    });
    this.player = player;
    this.moved = performance.now();
    this.at = -1;
    const current = (handle) => (...what) => player === this.player && handle(...what);
    player.on(mpegts.Events.STATISTICS_INFO, current((stats) => this.#count(stats)));
    player.on(mpegts.Events.LOADING_COMPLETE, current(() => this.#again("the connection ended")));
    player.on(mpegts.Events.ERROR, current((kind, detail, info) => this.#failed(kind, detail, info)));
    player.attachMediaElement(this.video);
    player.load();
    player.play()?.catch(current((error) => {
      if (error.name === "NotAllowedError") this.#report({ ...this.#state, state: "blocked" });
    }));
  }

  #count(stats) {
    const edge = this.edgeAt(stats.redirectedURL ?? stats.url) ?? this.#state.edge;
    this.#report({ ...this.#state, stats, edge });
  }

  #failed(kind, detail, info) {
    const unsupported = [mpegts.ErrorDetails.MEDIA_CODEC_UNSUPPORTED, mpegts.ErrorDetails.MEDIA_FORMAT_UNSUPPORTED];
    if (unsupported.includes(detail)) {
      this.#close();
      return this.#report({ state: "failed", reason: "this browser cannot play the stream's codec" });
    }
    // Of the scheduler: nothing is on air, or the edges that are left cannot take the viewer.
    if (info?.code === 404 || info?.code === 503) this.#avoid.clear();
    const known = { 403: "not allowed to watch", 404: "not on air", 503: "no edge has room" };
    return this.#again(known[info?.code] ?? (kind === mpegts.ErrorTypes.NETWORK_ERROR ? "the connection broke" : `${detail}`));
  }

  #again(reason) {
    const { edge } = this.#state;
    if (edge) this.#avoid.set(edge, performance.now() + AVOID_MS);
    const wait = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)] * (0.8 + 0.4 * Math.random());
    this.#failures += 1;
    this.#report({ state: "waiting", reason });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#dial(), wait);
  }

  /** Notices progress, and that there is none. */
  #watch() {
    if (!this.player || this.#state.state === "waiting") return;
    const now = performance.now();
    const moved = this.video.currentTime !== this.at;
    if (moved && this.at >= 0 && this.video.currentTime > 0) {
      this.#failures = 0;
      this.#report({ ...this.#state, state: "playing", behind_s: this.#behind() });
    }
    // A hidden page is given no time; one that may not play by itself waits for a click.
    if (moved || document.hidden || this.#state.state === "blocked") this.moved = now;
    this.at = this.video.currentTime;
    if (now - this.moved > STALL_MS) this.#again(`no new picture for ${STALL_MS / 1000} s`);
  }

  #behind() {
    const { buffered, currentTime } = this.video;
    return buffered.length ? Math.max(0, buffered.end(buffered.length - 1) - currentTime) : 0;
  }

  #chase() {
    if (this.#behind() > BEHIND_S) this.video.currentTime += this.#behind() - AHEAD_S;
  }

  #avoided() {
    for (const [edge, until] of this.#avoid) if (until < performance.now()) this.#avoid.delete(edge);
    return [...this.#avoid.keys()];
  }

  #close() {
    clearTimeout(this.timer);
    this.player?.destroy();
    this.player = null;
  }

  #report(state) {
    this.#state = state;
    this.changed({ ...state, avoided: this.#avoided() });
  }
}
