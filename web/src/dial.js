// Whom to ask next and when, after something failed. The scheduler finds the edge; this says which edges it should
// leave out, and how long to wait. Opens nothing.

const BACKOFF_MS = [200, 500, 1000, 2000, 5000]; // the first is hardly seen; later ones spare the scheduler
const AVOID_MS = 30_000; // by then the scheduler knows by itself whether the edge is well
const STEADY_MS = 5000; // a connection that lasted this long was well: what fails next begins a new count

export class Dial {
  #avoid = new Map(); // edge id to when it may be used again
  #failures = 0;
  #since = Infinity; // when the connection of now was made

  constructor(now = () => performance.now(), random = Math.random) {
    Object.assign(this, { now, random });
  }

  /** The ids of edges not to be sent to. */
  get avoided() {
    for (const [edge, until] of this.#avoid) if (until <= this.now()) this.#avoid.delete(edge);
    return [...this.#avoid.keys()];
  }

  connected() {
    this.#since = this.now();
  }

  /** Milliseconds to wait after a failure, of that edge if one is named: half to one and a half of the step so that a lost edge's viewers do not all come at once. */
  failed(edge) {
    if (edge) this.#avoid.set(edge, this.now() + AVOID_MS);
    if (this.now() - this.#since >= STEADY_MS) this.#failures = 0;
    this.#since = Infinity;
    const step = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)];
    this.#failures += 1;
    return step * (0.5 + this.random());
  }

  /** Nothing is on air, so no edge was at fault; or the edges that are left cannot take the viewer, and an avoided one is better than none. */
  forgive() {
    this.#avoid.clear();
  }
}
