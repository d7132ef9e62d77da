import assert from "node:assert/strict";
import { test } from "node:test";
import { Framer, Malformed, carries, isFileHeader, joined, script, timeOf } from "../src/tags.js";
import { audio, bytes, fileHeader, metadata, onWeir, start, tag, video } from "./flv.js";

test("tags come whole however the bytes are cut", () => {
  const whole = start(video(0, 1, 2), audio(23, 3), onWeir({ epoch: 1, group: 2 }));
  const inOne = new Framer().push(whole).map(String);
  assert.equal(inOne.length, 7);
  for (let size = 1; size <= whole.length; size += 1) {
    const framer = new Framer();
    const pieces = [];
    for (let at = 0; at < whole.length; at += size) {
      pieces.push(...framer.push(whole.slice(at, at + size)).map((piece) => piece.slice()));
    }
    assert.deepEqual(pieces.map(String), inOne, `cut into ${size}`);
    assert.deepEqual(joined(pieces), whole);
  }
});

test("the file header comes first and is told from tags", () => {
  const [first, ...others] = new Framer().push(start(video(0, 1)));
  assert.ok(isFileHeader(first));
  assert.ok(!others.some(isFileHeader));
});

test("what is not FLV is refused at once", () => {
  const refused = [
    ["a page", [new TextEncoder().encode("<!doctype html>")]],
    ["a tag of another type", [fileHeader, tag(7, 0, [1])]],
    ["bytes out of step", [fileHeader, video(0, 1), bytes([1], video(40, 1))]],
  ];
  for (const [what, chunks] of refused) {
    const framer = new Framer();
    assert.throws(() => chunks.forEach((chunk) => framer.push(chunk)), Malformed, what);
  }
});

test("a tag's time has 32 bits", () => {
  for (const time of [0, 1, 0x1234, 0xffffff, 0x1000000, 0x7fffffff, 0x80000000, 0xffffffff]) {
    assert.equal(timeOf(video(time, 1)), time);
  }
});

test("frames are told from configurations and from the rest, legacy and enhanced", () => {
  const avc1 = [0x61, 0x76, 0x63, 0x31];
  const rows = [
    [9, [0x17, 0, 0, 0, 0, 1], "config", "H.264 sequence header"],
    [9, [0x17, 1, 0, 0, 0, 1], "frame", "H.264 key frame"],
    [9, [0x27, 1, 0, 0, 0, 1], "frame", "H.264 inter frame"],
    [9, [0x17, 2, 0, 0, 0], "other", "H.264 end of sequence"],
    [9, [0x1c, 0, 0, 0, 0, 1], "config", "H.265 sequence header, codec id 12"],
    [9, [0x2c, 1, 0, 0, 0, 1], "frame", "H.265 frame, codec id 12"],
    [9, [0x12, 0, 1], "frame", "a codec without packet types"],
    [9, [0x57, 0], "other", "a command"],
    [9, [0x90, ...avc1, 1], "config", "enhanced sequence start"],
    [9, [0x91, ...avc1, 0, 0, 0, 1], "frame", "enhanced coded frames"],
    [9, [0xa3, ...avc1, 1], "frame", "enhanced coded frames without composition time"],
    [9, [0x92, ...avc1], "other", "enhanced end of sequence"],
    [9, [0x94, ...avc1], "other", "enhanced metadata"],
    [9, [0x95, ...avc1, 1], "config", "MPEG-2 TS sequence start"],
    [8, [0xaf, 0, 0x12, 0x10], "config", "AAC configuration"],
    [8, [0xaf, 1, 1], "frame", "AAC frame"],
    [8, [0x2f, 0xff], "frame", "MP3 frame"],
    [8, [0x90, 0x4f, 0x70, 0x75, 0x73, 1], "config", "Opus configuration"],
    [8, [0x91, 0x4f, 0x70, 0x75, 0x73, 1], "frame", "Opus frame"],
    [8, [0x94, 0x4f, 0x70, 0x75, 0x73, 1], "other", "multichannel configuration"],
    [8, [0x95, 0x01, 0x4f, 0x70, 0x75, 0x73, 1], "frame", "multitrack sound"],
    [8, [], "other", "nothing"],
  ];
  for (const [type, body, wanted, what] of rows) assert.equal(carries(tag(type, 0, body)), wanted, what);
});

test("onWeir is read, members of later versions among them", () => {
  const members = { epoch: 1795353214123, group: 7, frame: 3, move: "https://edge.example", deadline: 1.5, now: true, of: null };
  assert.deepEqual(script(onWeir(members)), { name: "onWeir", value: members });
});

test("a script tag that is no flat object has a name and no value", () => {
  assert.deepEqual(script(metadata()), { name: "onMetaData", value: null });
  assert.deepEqual(script(tag(18, 0, [2, 0, 1, 0x61, 0, 0, 0, 0, 0, 0, 0, 0, 0])), { name: "a", value: null });
});

test("a script tag cut anywhere is malformed or harmless, never anything else", () => {
  const body = onWeir({ epoch: 1, group: 2, move: "x" }).slice(11, -4);
  for (let length = 0; length < body.length; length += 1) {
    try {
      script(tag(18, 0, body.slice(0, length)));
    } catch (error) {
      assert.ok(error instanceof Malformed, `${length}: ${error}`);
    }
  }
});
