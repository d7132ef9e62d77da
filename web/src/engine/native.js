// Plays HLS by what the browser has itself: where there is no Media Source, as on older iPhones, nothing else plays.

const FAULTS = { 2: "the network failed", 3: "the decoder failed", 4: "nothing that plays came" };

export default class Native {
  #failed;

  /** As every engine: see player.js. */
  constructor(video, { address, dial, on }) {
    this.video = video;
    this.#failed = () => on.anew(FAULTS[video.error?.code] ?? "the browser stopped");
    video.addEventListener("error", this.#failed);
    video.addEventListener("loadedmetadata", () => on.connected(), { once: true });
    video.src = address({ exclude: dial.avoided.join(",") });
  }

  /** By the playlist's clock, where the browser tells (Safari). */
  latency() {
    const start = this.video.getStartDate?.().getTime();
    return start ? (Date.now() - start) / 1000 - this.video.currentTime : undefined;
  }

  pace() {} // the browser keeps its own

  close() {
    this.video.removeEventListener("error", this.#failed);
    this.video.removeAttribute("src");
    this.video.load();
  }
}
