// One connection to an edge: asks the scheduler, follows its redirect, reads. It breaks by itself when nothing came for
// too long, also when nobody reads it: what waits longer than that is not worth going over to. Knows no FLV but where
// it begins.

import { Scout } from "./splice.js";

const DIAL_MS = 6000; // an edge answers within 5 s, if only that no picture came
const STILL_MS = 3000; // a stream has sound or pictures many times a second
const TICK_MS = 250;

export class Line {
  edge; // who answered
  status; // how
  place = null; // {epoch, group, frame} of the first frame, once `find` found it
  #request = new AbortController();
  #heard = performance.now();
  #patience = DIAL_MS;
  #reader = null;
  #held = []; // read already
  #watchdog = setInterval(() => performance.now() - this.#heard > this.#patience && this.#request.abort(), TICK_MS);

  get isBroken() {
    return this.#request.signal.aborted;
  }

  /** Why it broke, when it did so by itself. */
  get silence() {
    return `nothing came for ${this.#patience / 1000} s`;
  }

  /** Dials; whether the stream follows. */
  async open(url, edgeAt) {
    const response = await fetch(url, { signal: this.#request.signal, cache: "no-store" });
    this.edge = edgeAt(response.url);
    this.status = response.status;
    if (response.status !== 200) return false;
    this.#heard = performance.now();
    this.#patience = STILL_MS;
    this.#reader = response.body.getReader();
    return true;
  }

  /** Reads until it is known with which frame it begins; what was read is read again. */
  async find() {
    const scout = new Scout();
    const held = [];
    while (!this.place) {
      const bytes = await this.read();
      if (!bytes) throw new Error("it ended before it began");
      held.push(bytes);
      this.place = scout.push(bytes);
    }
    this.#held = held;
  }

  /** The next bytes; nothing at the end. */
  async read() {
    if (this.#held.length) return this.#held.shift();
    const { done, value } = await this.#reader.read();
    this.#heard = performance.now();
    return done ? undefined : value;
  }

  close() {
    clearInterval(this.#watchdog);
    this.#request.abort();
  }
}
