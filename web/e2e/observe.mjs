// Looks at a page from within: when each picture was shown, which number it carries, and when its publisher sent it.
//
// `weir load publish` stamps each picture with the time and its number; the bytes that the player appends still have
// the stamp, and the picture shows the number. The clip must have no B-frames, so that both count in one order.

/** Runs in the page before its own scripts. */
export function observe() {
  const UUID = [0x9e, 0x1c, 0x5b, 0xd7, 0x24, 0x83, 0x4f, 0x6a, 0xb5, 0x3d, 0x71, 0xe8, 0xc6, 0x0f, 0x92, 0x4d];
  const PICTURES = 500; // of the clip, which goes round and round
  const sent = new Map(); // picture's number to Unix milliseconds
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [16, 1];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  window.frames_seen = []; // {now, number, latency, edge, width}
  window.begin = () => {
    window.frames_seen = window.frames_seen.slice(-1); // a gap that has begun counts
    window.began = performance.now();
  };
  window.begin();

  const append = SourceBuffer.prototype.appendBuffer;
  SourceBuffer.prototype.appendBuffer = function (data) {
    findStamps(data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return append.call(this, data);
  };

  function findStamps(bytes) {
    for (let at = bytes.indexOf(UUID[0]); at >= 0; at = bytes.indexOf(UUID[0], at + 1)) {
      if (!UUID.every((byte, i) => bytes[at + i] === byte)) continue;
      const fields = unescaped(bytes, at + UUID.length, 12);
      const view = new DataView(fields.buffer);
      sent.set(view.getUint32(8) % PICTURES, Number(view.getBigUint64(0)) / 1000);
    }
  }

  /** Without emulation prevention (H.264 7.4.1.1). */
  function unescaped(bytes, at, length) {
    const plain = new Uint8Array(length);
    for (let [to, zeros] = [0, 0]; to < length; at += 1) {
      if (zeros === 2 && bytes[at] === 3) zeros = 0;
      else {
        zeros = bytes[at] === 0 ? zeros + 1 : 0;
        plain[to++] = bytes[at];
      }
    }
    return plain;
  }

  /** 16 squares at the top, black 0, white 1, lowest bit left; nothing where the browser lets nobody look. */
  function numberIn(video) {
    try {
      return read(video);
    } catch {
      return null; // played by the browser itself from another origin
    }
  }

  function read(video) {
    const { videoWidth: width, videoHeight: height } = video;
    context.drawImage(video, 0, 0, width, height / 18, 0, 0, 16, 1);
    const { data } = context.getImageData(0, 0, 16, 1);
    return Array.from({ length: 16 }, (_, i) => (data[i * 4] > 127 ? 1 << i : 0)).reduce((sum, bit) => sum | bit, 0);
  }

  addEventListener("DOMContentLoaded", () => {
    const video = document.getElementById("video");
    const shown = () => {
      video.requestVideoFrameCallback(shown);
      const number = numberIn(video);
      const at = sent.get(number);
      const latency = at === undefined ? null : Date.now() - at;
      const { edge } = document.getElementById("watch").dataset;
      window.frames_seen.push({ now: performance.now(), number, latency, edge, width: video.videoWidth });
    };
    video.requestVideoFrameCallback(shown);
  });
}

/** What was seen since the measuring began. */
export async function record(page) {
  const { frames, began, now } = await page.evaluate(() => ({ frames: window.frames_seen, began: window.began, now: performance.now() }));
  const latencies = frames.slice(1).map((it) => it.latency).filter((it) => it !== null).sort((a, b) => a - b);
  const at = (share) => Math.round(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? -1);
  const ends = [...frames.slice(1).map((it) => it.now), now];
  const gaps = ends.map((end, i) => end - (frames[i]?.now ?? began));
  const other = frames.find((it) => it.edge !== "" && it.edge !== frames[0].edge);
  const shown = await page.$eval("#playing", (list) => Object.fromEntries([...list.children].map((it) => [...it.children].map((part) => part.textContent))));
  return {
    edge: await page.$eval("#watch", (section) => section.dataset.edge),
    frames: frames.length - 1,
    latency: { count: latencies.length, p50_ms: at(0.5), p95_ms: at(0.95), max_ms: at(1) },
    freeze_ms: Math.round(Math.max(...gaps)),
    back: frames.slice(1).filter((it, i) => it.number !== null && ((it.number - frames[i].number + 750) % 500) - 250 < 0).length,
    moved_after_ms: other ? Math.round(other.now - began) : null,
    widths: [...new Set(frames.map((it) => it.width))],
    shown,
  };
}
