// Plays FLV by mpegts.js: one MediaSource, fed by a Loader that outlives connections and edges.

import mpegts from "mpegts.js";
import { Loader } from "../loader.js";
import { Splice } from "../splice.js";

const TARGET_S = 1; // what shall be buffered: a change of edges takes less, and the viewer is hardly later for it
const NEAR_S = 0.6; // with less, play slower up to the target
const FAR_S = 2.5; // with more, play faster down to the target
const JUMP_S = 6; // with more, playing faster takes too long
const SLOWER = 0.95; // neither is heard
const FASTER = 1.1;
const UNSUPPORTED = [mpegts.ErrorDetails.MEDIA_CODEC_UNSUPPORTED, mpegts.ErrorDetails.MEDIA_FORMAT_UNSUPPORTED];

mpegts.LoggingControl.enableAll = false; // what matters is shown on the page

export default class Flv {
  /** As every engine: see player.js. */
  constructor(video, { address, edgeAt, dial, on }) {
    Object.assign(this, { video, rate_bps: 0 });
    this.player = mpegts.createPlayer({ type: "flv", isLive: true, url: address({}), cors: true }, {
      customLoader: Loader,
      weir: { address, edgeAt, dial, splice: new Splice(), on },
      enableStashBuffer: false,
      autoCleanupSourceBuffer: true,
    });
    this.player.on(mpegts.Events.STATISTICS_INFO, ({ speed }) => (this.rate_bps = speed * 8000));
    this.player.on(mpegts.Events.ERROR, (_kind, detail) => (UNSUPPORTED.includes(detail) ? on.unsupported([]) : on.anew(`${detail}`)));
    this.player.attachMediaElement(video);
    this.player.load();
  }

  /** An edge sends each frame as it gets it, so the viewer is behind by what is buffered. */
  latency(buffer_s) {
    return buffer_s;
  }

  /** Keeps enough buffered for a change of edges, and for long no more than that. */
  pace(buffer_s) {
    const { video } = this;
    const isThere = video.playbackRate > 1 ? buffer_s <= TARGET_S : buffer_s >= TARGET_S;
    if (buffer_s > JUMP_S) video.currentTime += buffer_s - TARGET_S;
    else if (buffer_s > FAR_S) video.playbackRate = FASTER;
    else if (buffer_s < NEAR_S) video.playbackRate = SLOWER;
    else if (isThere) video.playbackRate = 1;
  }

  close() {
    this.player.destroy();
  }
}
