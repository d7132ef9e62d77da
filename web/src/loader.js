// The player's source of bytes (a `customLoader` of mpegts.js). It asks the scheduler, follows the redirect to an edge,
// and when the connection breaks, ends or stands still it dials again and goes on after the last frame that the player
// has: the player notices nothing while its buffer lasts.
//
// It alone retries connections. It holds one unfinished tag per connection and no other bytes.

import mpegts from "mpegts.js";
import { Anew } from "./splice.js";
import { Malformed } from "./tags.js";

const DIAL_MS = 6000; // an edge answers within 5 s, if only that no picture came
const STILL_MS = 3000; // a stream has sound or pictures many times a second
const TICK_MS = 250;
const REFUSALS = { 403: "not allowed to watch", 404: "not on air", 503: "no edge has room", 504: "the edge gets no picture" };

export class Loader extends mpegts.BaseLoader {
  #isOpen = false;
  #request = null;
  #handed = 0;

  /**
   * `config.weir` has what outlives a loader:
   * - `address({exclude, resume})`: the URL to ask the scheduler with;
   * - `edgeAt(url)`: the id of the edge that answers there;
   * - `dial`, a Dial, and `splice`, a Splice, new with each player;
   * - `on`: `connected(edge)`, `resumed()`, `lost(reason)`, and `anew(reason)` when only a new player can go on.
   */
  constructor(_seekHandler, config) {
    super("weir");
    Object.assign(this, config.weir);
  }

  /** `range.from` is where the player goes on counting bytes: it opens a second loader after a pause of its own. */
  open(_source, range) {
    this.#handed = range.from;
    this.#isOpen = true;
    this._status = mpegts.LoaderStatus.kConnecting;
    this.#run();
  }

  abort() {
    this.#isOpen = false;
    this._status = mpegts.LoaderStatus.kComplete;
    this.#request?.abort();
  }

  destroy() {
    this.abort();
    super.destroy();
  }

  async #run() {
    while (this.#isOpen) {
      const { edge, reason, status } = await this.#connection();
      if (!this.#isOpen) return;
      if (!this.splice.isOpen) return this.#anew(reason, edge);
      const wait = this.dial.failed(edge);
      if (status === 404 || (status === 503 && !edge)) this.dial.forgive(); // without an edge the scheduler said so
      this._status = mpegts.LoaderStatus.kConnecting;
      this.on.lost(reason);
      await new Promise((passed) => setTimeout(passed, wait));
    }
  }

  /** One connection, from the dial to its end: `edge` that answered, `reason` of the end, `status` of a refusal. */
  async #connection() {
    const request = new AbortController();
    this.#request = request;
    const seen = { heard: performance.now(), patience: DIAL_MS };
    const watchdog = setInterval(() => performance.now() - seen.heard > seen.patience && request.abort(), TICK_MS);
    const ended = (reason, status) => ({ reason, status, edge: seen.edge });
    try {
      const resume = this.splice.resume;
      const url = this.address({ exclude: this.dial.avoided.join(","), resume });
      const response = await fetch(url, { signal: request.signal, cache: "no-store" });
      seen.edge = this.edgeAt(response.url);
      if (!response.ok) return ended(REFUSALS[response.status] ?? `the answer was ${response.status}`, response.status);
      this.dial.connected();
      this.on.connected(seen.edge);
      seen.heard = performance.now();
      seen.patience = STILL_MS;
      await this.#take(response.body.getReader(), resume !== "", seen);
      return ended("the connection ended");
    } catch (error) {
      if (error instanceof Anew) this.#anew(error.message);
      const reason = error instanceof Malformed ? `the edge sent ${error.message}` : "the connection broke";
      return ended(request.signal.aborted ? `nothing came for ${seen.patience / 1000} s` : reason);
    } finally {
      clearInterval(watchdog);
      request.abort();
    }
  }

  async #take(reader, isResumed, seen) {
    const inlet = this.splice.connection();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !this.#isOpen) return;
      seen.heard = performance.now();
      const bytes = inlet.push(value);
      if (bytes.length === 0) continue;
      this.#hand(bytes.buffer);
      if (isResumed) this.on.resumed();
      isResumed = false;
    }
  }

  #hand(buffer) {
    const from = this.#handed;
    this.#handed += buffer.byteLength;
    this._status = mpegts.LoaderStatus.kBuffering;
    try {
      this._onDataArrival(buffer, from, this.#handed);
    } catch (error) {
      throw new Anew(`the player failed: ${error.message}`); // another connection would not help it
    }
  }

  #anew(reason, edge) {
    this.abort();
    this.on.anew(reason, edge);
  }
}
