// The player's source of bytes (a `customLoader` of mpegts.js). It asks the scheduler, follows the redirect to an edge,
// and when the connection breaks, ends or stands still it dials again and goes on after the last frame that the player
// has: the player notices nothing while its buffer lasts. When the edge wants the player to leave it asks the scheduler
// where to, opens the other connection while this one plays on, and goes over where both have the same frame; when
// nothing comes of that it stays.
//
// It alone retries connections. It holds one unfinished tag per connection, what a connection began with, and no other
// bytes.

import mpegts from "mpegts.js";
import { Line } from "./line.js";
import { Anew } from "./splice.js";
import { Malformed } from "./tags.js";

const REFUSALS = { 403: "not allowed to watch", 404: "not on air", 503: "no edge has room", 504: "the edge gets no picture" };

export class Loader extends mpegts.BaseLoader {
  #isOpen = false;
  #line = null; // that plays
  #next = null; // that shall play instead
  #handed = 0;

  /**
   * `config.weir` has what outlives a loader:
   * - `address({exclude, resume, playing})`: the URL to ask the scheduler with;
   * - `edgeAt(url)`: the id of the edge that answers there;
   * - `dial`, a Dial, and `splice`, a Splice, new with each player;
   * - `on`: `connected(edge)`, `resumed()`, `moved()`, `lost(reason)`, and `anew(reason)` when only a new player can go
   *   on.
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
    this.#line?.close();
    this.#next?.close();
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

  /** From the dial to where no connection goes on: `edge` that played last, `reason` of the end, `status` of a refusal. */
  async #connection() {
    let line = (this.#line = new Line());
    const ended = (reason, status) => ({ reason, status, edge: line.edge });
    try {
      const resume = this.splice.resume;
      const isOpen = await line.open(this.address({ exclude: this.dial.avoided.join(","), resume }), this.edgeAt);
      if (!isOpen) return ended(REFUSALS[line.status] ?? `the answer was ${line.status}`, line.status);
      this.dial.connected();
      this.on.connected(line.edge);
      let isResumed = resume !== "";
      for (;;) {
        await this.#take(line, isResumed);
        if (!this.#goesOn || !this.#isOpen) return ended("the connection ended");
        line.close();
        [line, this.#line, this.#next] = [this.#next, this.#next, null];
        this.on.connected(line.edge);
        this.on.moved();
        isResumed = false;
      }
    } catch (error) {
      if (error instanceof Anew) this.#anew(error.message);
      const reason = error instanceof Malformed ? `the edge sent ${error.message}` : "the connection broke";
      return ended(line.isBroken ? line.silence : reason);
    } finally {
      line.close();
      this.#next?.close();
      this.#next = null;
    }
  }

  /** Hands on what comes, until the connection ends or another one goes on. */
  async #take(line, isResumed) {
    const inlet = this.splice.connection();
    for (;;) {
      const bytes = await this.#read(line);
      if (!bytes || !this.#isOpen) return;
      const taken = inlet.push(bytes);
      if (taken.length) {
        this.#hand(taken.buffer);
        if (isResumed) this.on.resumed();
        isResumed = false;
      }
      if (inlet.isAsked) this.#look(line.edge);
      inlet.isAsked = false;
      if (this.#goesOn && this.splice.meets(this.#next.place)) return;
    }
  }

  /** What comes next; nothing at the end, nor after a break from which another connection goes on. */
  async #read(line) {
    try {
      return await line.read();
    } catch (error) {
      if (this.#goesOn) return undefined;
      throw error;
    }
  }

  /** Whether there is another connection that can go on. */
  get #goesOn() {
    return this.#next?.place && !this.#next.isBroken;
  }

  /** Looks for another edge, once at a time; without success this one is stayed at, which may ask again. */
  async #look(playing) {
    if (this.#next && !this.#next.isBroken) return;
    this.#next?.close();
    const next = (this.#next = new Line());
    try {
      const ask = { exclude: this.dial.avoided.join(","), resume: this.splice.resume, playing };
      const isOpen = await next.open(this.address(ask), this.edgeAt);
      if (isOpen && next.edge !== playing) return await next.find();
    } catch {
      // It is as if nobody had asked.
    }
    next.close();
    if (this.#next === next) this.#next = null;
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
