// One run of FLV for the player out of as many connections as it takes. Knows the last frame that the player has, so
// that another connection goes on after it. Opens nothing, keeps no time.
//
// An edge asked with `weir=1` writes a script tag `onWeir {epoch, group, frame}` before the frames it tells of: the
// next frame is number `frame` of that group, the following ones count on. Times are the stream's own, at every edge.
// An edge that wants the player to leave writes `onWeir {move: true}`.

import { Framer, Malformed, SCRIPT, bodyOf, carries, isFileHeader, joined, script, timeOf, typeOf } from "./tags.js";

const GAP_MS = 10_000; // missed for longer, joining anew shows the present sooner than bridging the gap

/** What comes cannot follow what the player has: it needs a player made anew. */
export class Anew extends Error {}

export class Splice {
  #epoch = null;
  #last = null; // {group, frame} of the last frame handed on
  #time = null; // its time
  #told = new Map(); // what each kind of header said last

  /** The last frame handed on, as `resume` wants it; empty when there is none, or the edge does not tell. */
  get resume() {
    return this.#last ? `${this.#epoch}.${this.#last.group}.${this.#last.frame}` : "";
  }

  /** Whether another connection can go on. */
  get isOpen() {
    return this.#time === null || this.#last !== null;
  }

  /** Whether a connection that begins with this frame leaves nothing out: the player has it already. */
  meets({ epoch, group, frame }) {
    return epoch === this.#epoch && this.#last !== null && !isAfter({ group, frame }, this.#last);
  }

  /** A connection's way in. Frames that the player has already are left out, whichever connection brings them. */
  connection() {
    return new Inlet(this);
  }

  /** Takes `onWeir`. */
  expect(epoch) {
    if (this.#epoch !== null && this.#epoch !== epoch) throw new Anew("the stream began anew");
    this.#epoch = epoch;
  }

  /** Whether a frame is new; `at` is null where the edge does not tell, `isFirst` for a connection's first one. */
  takes(at, time, isFirst) {
    if (isFirst && this.#time !== null) {
      if (at === null) throw new Anew("the edge cannot resume");
      if (((time - this.#time) | 0) > GAP_MS) throw new Anew("too much was missed");
    }
    if (at && this.#last && !isAfter(at, this.#last)) return false;
    [this.#last, this.#time] = [at, time];
    return true;
  }

  /** Whether a header of this kind says something else than the one before. */
  differs(kind, body) {
    const before = this.#told.get(kind);
    if (before?.length === body.length && before.every((byte, i) => byte === body[i])) return false;
    this.#told.set(kind, body.slice());
    return true;
  }
}

class Inlet {
  #framer = new Framer();
  #next = null; // {group, frame} of the connection's next frame
  #isFirst = true;

  /** The edge wants the player to leave; whoever looks after that takes the wish back. */
  isAsked = false;

  constructor(splice) {
    this.splice = splice;
  }

  /** What of these bytes the player shall get: whole tags only. Throws Malformed or Anew. */
  push(chunk) {
    return joined(this.#framer.push(chunk).filter((piece) => this.#takes(piece)));
  }

  #takes(piece) {
    if (isFileHeader(piece)) return this.splice.differs("file", piece.subarray(0, 0)); // the first one only
    if (typeOf(piece) === SCRIPT) return this.#takesScript(piece);
    const kind = carries(piece);
    if (kind === "config") return this.splice.differs(typeOf(piece), bodyOf(piece));
    return kind === "frame" && this.#takesFrame(piece);
  }

  #takesScript(tag) {
    const { name, value } = script(tag);
    if (name !== "onWeir") return this.splice.differs(name, bodyOf(tag));
    if (value?.move === true) this.isAsked = true;
    const place = placeOf(value);
    if (!place) return false; // it tells of something else
    this.splice.expect(place.epoch);
    this.#next = { group: place.group, frame: place.frame };
    return false;
  }

  #takesFrame(tag) {
    const at = this.#next;
    if (at) this.#next = { group: at.group, frame: at.frame + 1 };
    const isNew = this.splice.takes(at, timeOf(tag), this.#isFirst);
    this.#isFirst = false;
    return isNew;
  }
}

/** Finds with which frame a connection begins; takes nothing for the player. */
export class Scout {
  #framer = new Framer();
  #length = 0;

  /** {epoch, group, frame}, or null while it is not known. Throws Malformed. */
  push(chunk) {
    this.#length += chunk.length;
    if (this.#length > BEGIN_BYTES) throw new Malformed("no position");
    for (const piece of this.#framer.push(chunk)) {
      if (isFileHeader(piece) || typeOf(piece) !== SCRIPT) continue;
      const { name, value } = script(piece);
      const place = name === "onWeir" ? placeOf(value) : null;
      if (place) return place;
    }
    return null;
  }
}

/** Of an `onWeir` that tells one. */
function placeOf(value) {
  if (value?.epoch === undefined) return null;
  const { epoch, group, frame = 0 } = value;
  if (![epoch, group, frame].every(Number.isSafeInteger)) throw new Malformed("a position that is none");
  return { epoch, group, frame };
}

const BEGIN_BYTES = 1 << 20; // metadata and sequence headers are a few kilobytes, and a read is not larger than this

const isAfter = (a, b) => a.group > b.group || (a.group === b.group && a.frame > b.frame);
