import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, choose, possible } from "../src/choice.js";

const chrome = { flv: true, hls: true, native: true, decodes: (type) => !/hvc1|hev1/.test(type) };
const phone = { flv: false, hls: true, native: true, decodes: () => true }; // ManagedMediaSource alone
const old = { flv: false, hls: false, native: true, decodes: () => true };
const none = { flv: false, hls: false, native: false, decodes: () => true };
const plain = { codecs: ["avc1.640028", "mp4a.40.2"], rungs: 0 };

test("the best protocol is chosen by what browser and stream can", () => {
  const table = [
    [chrome, plain, "flv"],
    [chrome, { ...plain, rungs: 2 }, "ll-hls"],
    [chrome, { codecs: ["av01.0.04M.08", "opus"], rungs: 1 }, "flv"],
    [chrome, { codecs: ["vp09.00.10.08"], rungs: 1 }, "ll-hls"],
    [chrome, { codecs: [], rungs: 0 }, "flv"],
    [phone, plain, "ll-hls"],
    [old, plain, "native"],
  ];
  for (const [can, stream, protocol] of table) assert.deepEqual(choose("", stream, can), { protocol });
  assert.match(choose("", plain, none).refusal, /neither/);
});

test("a wish is granted where it can be", () => {
  for (const protocol of ["flv", "ll-hls", "hls", "native"]) assert.deepEqual(choose(protocol, plain, chrome), { protocol });
  assert.match(choose("flv", { codecs: ["vp09.00.10.08"], rungs: 1 }, chrome).refusal, /HTTP-FLV cannot/);
  assert.deepEqual(possible(phone), ["ll-hls", "hls", "native"]);
  assert.deepEqual(possible(old), ["native"]);
});

test("a codec that the browser cannot decode is named, whatever the wish", () => {
  for (const wish of ["", "flv", "ll-hls", "native"]) {
    const { refusal } = choose(wish, { codecs: ["hvc1.1.6.L63.90", "mp4a.40.2"], rungs: 1 }, chrome);
    assert.match(refusal, /cannot decode.*H\.265 \(HEVC\), hvc1\.1\.6\.L63\.90\)/);
    assert.doesNotMatch(refusal, /AAC/);
  }
});

test("what a browser can do is read from it", () => {
  const video = { canPlayType: (type) => (type.includes("mpegurl") ? "maybe" : "") };
  const source = { isTypeSupported: (type) => type.startsWith("video") };
  const seen = (scope) => (({ flv, hls, native, decodes }) => [flv, hls, native, decodes("video/mp4"), decodes("audio/mp4")])(browser(scope, video));
  assert.deepEqual(seen({ MediaSource: source }), [true, true, true, true, false]);
  assert.deepEqual(seen({ ManagedMediaSource: source }), [false, true, true, true, false]);
  assert.deepEqual(seen({}), [false, false, true, false, false]);
});
