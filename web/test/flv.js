// FLV as an edge writes it, for the tests: small, with bodies that say which frame they are.

export const fileHeader = Uint8Array.of(0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0);

export function tag(type, time, body) {
  const size = body.length;
  const trailer = size + 11;
  return Uint8Array.of(
    type, size >> 16, size >> 8, size, time >> 16, time >> 8, time, time >>> 24, 0, 0, 0,
    ...body,
    trailer >> 24, trailer >> 16, trailer >> 8, trailer,
  );
}

export const video = (time, ...payload) => tag(9, time, [0x27, 1, 0, 0, 0, ...payload]);
export const audio = (time, ...payload) => tag(8, time, [0xaf, 1, ...payload]);
export const videoConfig = (...record) => tag(9, 0, [0x17, 0, 0, 0, 0, ...record]);
export const audioConfig = (...record) => tag(8, 0, [0xaf, 0, ...record]);

export const metadata = (width = 640) => tag(18, 0, [...text("onMetaData"), 8, 0, 0, 0, 1, ...name("width"), ...number(width), 0, 0, 9]);

export function onWeir(members, time = 0) {
  const value = { number, string: (it) => text(it), boolean: (it) => [1, Number(it)], object: () => [5] };
  const written = Object.entries(members).flatMap(([key, it]) => [...name(key), ...value[typeof it](it)]);
  return tag(18, time, [...text("onWeir"), 3, ...written, 0, 0, 9]);
}

export const start = (...tags) => bytes(fileHeader, metadata(), videoConfig(1, 2, 3), audioConfig(4, 5), ...tags);

/** A group of `length` frames, sound and pictures in turn, 40 ms apart; each carries its group and number. */
export function group(epoch, number, length = 4, from = 0) {
  const time = (i) => (number * length + i) * 40;
  const frames = Array.from({ length: length - from }, (_, i) => i + from);
  const place = from ? { epoch, group: number, frame: from } : { epoch, group: number };
  return bytes(onWeir(place, time(from)), ...frames.map((i) => (i % 2 ? audio : video)(time(i), number, i)));
}

export const bytes = (...parts) => new Uint8Array(parts.flatMap((part) => [...part]));

const name = (it) => [it.length >> 8, it.length & 255, ...new TextEncoder().encode(it)];
const text = (it) => [2, ...name(it)];
function number(it) {
  const view = new DataView(new ArrayBuffer(9));
  view.setFloat64(1, it);
  return new Uint8Array(view.buffer);
}

/** "group.frame" of each frame, in the bytes that a player got; other tags by their type, the file header as "F". */
export function read(given) {
  const seen = [];
  for (let at = 0; at < given.length; ) {
    if (given[at] === 0x46) {
      seen.push("F");
      at += fileHeader.length;
      continue;
    }
    const size = (given[at + 1] << 16) | (given[at + 2] << 8) | given[at + 3];
    const body = given.subarray(at + 11, at + 11 + size);
    const isFrame = given[at] !== 18 && body[1] === 1;
    seen.push(isFrame ? [...body.subarray(-2)].join(".") : `${given[at]}`);
    at += 11 + size + 4;
  }
  return seen;
}
