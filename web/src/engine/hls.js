// Plays HLS by hls.js, which follows content steering from edge to edge by itself, and to another pathway when one
// fails. What it cannot mend is told to the player, which asks the scheduler again.

import Hls from "hls.js/light"; // without subtitles, DRM and alternate audio, which no stream here has
import { Rate } from "../rate.js";

const FASTER = 1.1; // is not heard
const ON_STALL_S = 0.3; // a stall costs so much latency: hls.js would take a second
const BACK_BUFFER_S = 30; // what was played, for a look back; the rest of a long evening is memory
const JUMP_S = 6; // so far behind its target, playing faster takes too long
const SKEW_S = 10; // clocks that differ by more are not one time: PROGRAM-DATE-TIME says nothing here
const MEND_MS = 10_000; // a decoder that fails twice in this time needs a player made anew
const PATIENCE = { maxTimeToFirstByteMs: 4000, maxLoadTimeMs: 10_000 }; // a blocked answer comes within a part
const AT_ONCE = { maxNumRetry: 1, retryDelayMs: 100, maxRetryDelayMs: 500 }; // then another pathway
const NEVER = { maxNumRetry: 0, retryDelayMs: 0, maxRetryDelayMs: 0 };
const patient = (errorRetry, timeoutRetry = NEVER) => ({ default: { ...PATIENCE, errorRetry, timeoutRetry } });
const CODECS = [Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR, Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR, Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR];
const REFUSALS = { 403: "not allowed to watch", 404: "not on air", 503: "no edge has room", 504: "the edge gets no picture" };

class HlsJs {
  #rate = new Rate();
  #mended = -Infinity;
  #edge;

  /** As every engine: see player.js. `lowLatency` says whether parts are played or whole segments. */
  constructor(video, { address, edgeAt, dial, on }, lowLatency) {
    Object.assign(this, { video, edgeAt, on });
    const hls = (this.hls = new Hls({
      lowLatencyMode: lowLatency,
      maxLiveSyncPlaybackRate: FASTER,
      liveSyncOnStallIncrease: ON_STALL_S,
      backBufferLength: BACK_BUFFER_S,
      manifestLoadPolicy: patient(NEVER),
      playlistLoadPolicy: patient(AT_ONCE, AT_ONCE),
      fragLoadPolicy: patient(AT_ONCE, AT_ONCE),
    }));
    hls.on(Hls.Events.MANIFEST_PARSED, () => on.connected());
    hls.on(Hls.Events.FRAG_LOADED, (_event, loaded) => this.#loaded(loaded));
    hls.on(Hls.Events.ERROR, (_event, error) => this.#failed(error));
    hls.loadSource(address({ exclude: dial.avoided.join(",") }));
    hls.attachMedia(video);
  }

  get rate_bps() {
    return this.#rate.bps(performance.now());
  }

  /** The pathway as steering calls it: the edge's id. */
  get pathway() {
    return this.hls.levels[this.hls.loadLevel]?.pathwayId;
  }

  /** The qualities to choose from, best first: `[number, name]`. */
  get qualities() {
    const levels = this.hls.levels.map(({ height, bitrate }, number) => [String(number), height ? `${height}p` : `${Math.round(bitrate / 1000)} kbit/s`]);
    return levels.reverse();
  }

  get quality() {
    return this.hls.autoLevelEnabled ? "" : String(this.hls.manualLevel);
  }

  /** One of the qualities, or empty for the best that the network carries. */
  set quality(number) {
    this.hls.loadLevel = number === "" ? -1 : Number(number);
  }

  /** By the clock that the playlists carry, where it can be this one's; else behind the newest part. */
  latency() {
    const shown = this.hls.playingDate?.getTime();
    const behind_s = (Date.now() - shown) / 1000;
    return behind_s > 0 && Math.abs(behind_s - this.hls.latency) < SKEW_S ? behind_s : this.hls.latency || undefined;
  }

  /** hls.js plays faster by itself; it does not jump. */
  pace() {
    const { latency, targetLatency, liveSyncPosition } = this.hls;
    if (targetLatency && liveSyncPosition && latency > targetLatency + JUMP_S) this.video.currentTime = liveSyncPosition;
  }

  close() {
    this.hls.destroy();
  }

  #loaded({ frag, part }) {
    const { stats, url } = part ?? frag;
    this.#rate.push(stats.total || stats.loaded, performance.now());
    const edge = this.edgeAt(url);
    if (edge === this.#edge) return;
    if (this.#edge !== undefined) this.on.moved();
    this.#edge = edge;
    this.on.connected(edge);
  }

  #failed({ fatal, details, type, mimeType, response, error }) {
    if (CODECS.includes(details)) return this.on.unsupported(codecsOf(mimeType ?? error?.message ?? ""));
    if (!fatal) return;
    if (type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - this.#mended > MEND_MS) {
      this.#mended = performance.now();
      return this.hls.recoverMediaError();
    }
    const status = response?.code;
    this.on.anew(REFUSALS[status] ?? (type === Hls.ErrorTypes.NETWORK_ERROR ? "the edge does not answer" : details), this.#edge, status);
  }
}

/** The codec strings that hls.js names in its complaint. */
export const codecsOf = (words) => words.match(/\b(avc[13]|hvc1|hev1|av01|vp09|mp4a)\.[\w.]+|\bopus\b/gi) ?? [];

export class LowLatency extends HlsJs {
  constructor(video, context) {
    super(video, context, true);
  }
}

export class Segments extends HlsJs {
  constructor(video, context) {
    super(video, context, false);
  }
}
