// FLV as a run of whole tags (Adobe FLV 10.1, annex E; enhanced RTMP for what came later). Knows a tag's outside and
// the first bytes of its body, never a codec. Opens nothing, keeps no time.

export const AUDIO = 8;
export const VIDEO = 9;
export const SCRIPT = 18;

const FILE_HEADER = 13; // nine bytes, and the size of the tag before the first, which is 0
const TAG_HEADER = 11;
const TRAILER = 4; // the tag's size again
const AAC = 10;
const WITH_PACKET_TYPE = [7, 12]; // legacy codec ids of H.264 and H.265; others have frames only
const COMMAND = 5; // a legacy frame type that carries no frame
const ENHANCED_SOUND = 9;

/** Bytes that are not FLV, or not what an edge sends. */
export class Malformed extends Error {}

/** Cuts a stream of bytes, in pieces of any size, into its file header and whole tags. Holds one unfinished tag: at most 16 MiB, as the format has it. */
export class Framer {
  #parts = [];
  #length = 0;
  #wanted = FILE_HEADER;
  #isBegun = false;

  /** The pieces that these bytes complete, in order. They share memory with each other: copy what you keep. */
  push(chunk) {
    this.#parts.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#wanted) return [];
    const bytes = this.#parts.length === 1 ? chunk : joined(this.#parts);
    const pieces = [];
    let at = 0;
    while ((this.#wanted = this.#size(bytes, at)) <= bytes.length - at) {
      pieces.push(bytes.subarray(at, at + this.#wanted));
      at += this.#wanted;
      this.#isBegun = true;
    }
    this.#parts = [bytes.slice(at)];
    this.#length = bytes.length - at;
    return pieces;
  }

  /** How many bytes the piece at `at` has, or how many are needed to know. */
  #size(bytes, at) {
    if (!this.#isBegun) {
      if (String.fromCharCode(...bytes.subarray(at, at + 4)) !== "FLV\x01") throw new Malformed("something else than FLV");
      return FILE_HEADER;
    }
    if (bytes.length - at < TAG_HEADER) return TAG_HEADER;
    if (![AUDIO, VIDEO, SCRIPT].includes(bytes[at])) throw new Malformed(`a tag of type ${bytes[at]}`);
    return TAG_HEADER + ((bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) + TRAILER;
  }
}

export const isFileHeader = (piece) => piece[0] === 0x46; // an F, which is no type of a tag

/** AUDIO, VIDEO or SCRIPT. */
export const typeOf = (tag) => tag[0];

/** Milliseconds, 32 bits that wrap: compare by `(a - b) | 0`. */
export const timeOf = (tag) => ((tag[7] << 24) | (tag[4] << 16) | (tag[5] << 8) | tag[6]) >>> 0;

export const bodyOf = (tag) => tag.subarray(TAG_HEADER, tag.length - TRAILER);

/** What a tag of sound or picture carries: a `frame`, a track's `config`, or `other` that is neither. */
export function carries(tag) {
  const [first, second] = bodyOf(tag);
  if (first === undefined) return "other";
  if (typeOf(tag) === AUDIO) {
    const format = first >> 4;
    if (format === ENHANCED_SOUND) return packet(first & 15, [4]);
    return format === AAC && second === 0 ? "config" : "frame";
  }
  if (first & 0x80) return packet(first & 15, [4], [5]);
  if (first >> 4 === COMMAND) return "other";
  if (!WITH_PACKET_TYPE.includes(first & 15)) return "frame";
  return ["config", "frame"][second] ?? "other";
}

/** Of the enhanced packet types 0 starts a sequence and 2 ends it; what 4 and 5 are differs. */
function packet(type, others, configs = []) {
  if (type === 0 || configs.includes(type)) return "config";
  return type === 2 || others.includes(type) ? "other" : "frame";
}

/** Name and members of a script tag whose value is a flat AMF0 object; `value` is null where it is anything else. */
export function script(tag) {
  const body = bodyOf(tag);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  let at = 0;
  const text = () => {
    const length = view.getUint16(at);
    at += 2 + length;
    if (at > body.length) throw new RangeError("a text past the tag's end");
    return new TextDecoder().decode(body.subarray(at - length, at));
  };
  const value = {
    0x00: () => view.getFloat64((at += 8) - 8),
    0x01: () => view.getUint8(at++) !== 0,
    0x02: text,
    0x05: () => null,
  };
  const next = () => value[view.getUint8(at++)]?.();
  try {
    const name = next();
    if (typeof name !== "string" || view.getUint8(at++) !== 0x03) return { name, value: null };
    const members = {};
    for (let key = text(); key !== ""; key = text()) {
      members[key] = next();
      if (members[key] === undefined) return { name, value: null };
    }
    return { name, value: members };
  } catch (error) {
    if (error instanceof RangeError) throw new Malformed("a script tag that ends too early");
    throw error;
  }
}

/** The same bytes in one piece of memory of their own. */
export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
