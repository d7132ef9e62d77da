// Bytes a second over the last while. Keeps no time of its own.

const WHILE_MS = 4000; // some parts of HLS, many reads of FLV

export class Rate {
  #came = []; // {at, bytes}

  push(bytes, now) {
    this.#came.push({ at: now, bytes });
    this.#forget(now);
  }

  /** Bits a second. */
  bps(now) {
    this.#forget(now);
    const bytes = this.#came.reduce((sum, it) => sum + it.bytes, 0);
    return (bytes * 8000) / WHILE_MS;
  }

  #forget(now) {
    while (this.#came.length && now - this.#came[0].at > WHILE_MS) this.#came.shift();
  }
}
