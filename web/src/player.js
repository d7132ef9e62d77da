// The player: asks the scheduler like any viewer, follows its redirect, and dials again through it when a connection breaks.

import mpegts from "mpegts.js";

const BACKOFF_MS = [200, 500, 1000, 2000, 5000]; // the first dial again is at once for the eye; later ones spare the scheduler
const BEHIND_S = 4; // a live picture further behind than this is brought back to the edge of the buffer

export class Player {
  /** `changed` is called with {state, edge_url, stats} whenever one of them changes. */
  constructor(video, changed) {
    this.video = video;
    this.changed = changed;
    this.player = null;
    this.failures = 0;
    video.addEventListener("timeupdate", () => this.#chase());
  }

  play(url) {
    this.url = url;
    this.failures = 0;
    this.#dial();
  }

  stop() {
    clearTimeout(this.timer);
    this.player?.destroy();
    this.player = null;
  }

  #dial() {
    this.stop();
    this.served = null;
    this.#report("connecting");
    const player = mpegts.createPlayer(
      { type: "flv", isLive: true, url: this.url, cors: true },
      { enableStashBuffer: false, autoCleanupSourceBuffer: true, reuseRedirectedURL: false },
    );
    this.player = player;
    player.on(mpegts.Events.STATISTICS_INFO, (stats) => {
      if (player !== this.player) return;
      this.served = stats.redirectedURL ?? stats.url;
      if (stats.speed > 0) this.failures = 0;
      this.#report("playing", stats);
    });
    player.on(mpegts.Events.ERROR, (kind, detail) => player === this.player && this.#again(`${kind}: ${detail}`));
    player.on(mpegts.Events.LOADING_COMPLETE, () => player === this.player && this.#again("the connection ended"));
    player.attachMediaElement(this.video);
    player.load();
    player.play()?.catch(() => {}); // a page that may not start playing by itself waits for a click
  }

  #again(reason) {
    const wait = BACKOFF_MS[Math.min(this.failures, BACKOFF_MS.length - 1)];
    this.failures += 1;
    this.#report(`dialling again: ${reason}`);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#dial(), wait * (0.8 + 0.4 * Math.random()));
  }

  #chase() {
    const { buffered, currentTime } = this.video;
    if (buffered.length === 0) return;
    const end = buffered.end(buffered.length - 1);
    if (end - currentTime > BEHIND_S) this.video.currentTime = end - 0.5;
  }

  #report(state, stats) {
    this.changed({ state, served: this.served, stats });
  }
}
