import assert from "node:assert/strict";
import { test } from "node:test";
import { Anew, Splice } from "../src/splice.js";
import { Malformed } from "../src/tags.js";
import { audioConfig, bytes, fileHeader, group, metadata, onWeir, read, start, tag, video, videoConfig } from "./flv.js";

const HEADERS = ["F", "18", "9", "8"];
const frames = (number, from, to) => Array.from({ length: to - from }, (_, i) => `${number}.${from + i}`);

/** What a player gets from connections that each say so much before they break. */
function spliced(...connections) {
  const splice = new Splice();
  return { splice, got: connections.flatMap((said) => read(splice.connection().push(said))) };
}

test("the first connection is handed on whole, but for onWeir", () => {
  const { splice, got } = spliced(start(group(5, 7), group(5, 8)));
  assert.deepEqual(got, [...HEADERS, ...frames(7, 0, 4), ...frames(8, 0, 4)]);
  assert.equal(splice.resume, "5.8.3");
});

test("nothing but whole tags is handed on, and only what was handed on counts", () => {
  const splice = new Splice();
  const inlet = splice.connection();
  const said = start(group(5, 7));
  assert.deepEqual(read(inlet.push(said.slice(0, -1))), [...HEADERS, ...frames(7, 0, 3)]);
  assert.equal(splice.resume, "5.7.2");
  assert.deepEqual(read(inlet.push(said.slice(-1))), ["7.3"]);
  assert.equal(splice.resume, "5.7.3");
});

test("a resumed connection goes on with the next frame", () => {
  const { splice, got } = spliced(start(group(5, 7).slice(0, -1)), start(group(5, 7, 4, 3), group(5, 8)));
  assert.deepEqual(got, [...HEADERS, ...frames(7, 0, 4), ...frames(8, 0, 4)]);
  assert.equal(splice.resume, "5.8.3");
});

test("a resumed connection may go on with a later group", () => {
  const { got } = spliced(start(group(5, 7)), start(group(5, 9)));
  assert.deepEqual(got, [...HEADERS, ...frames(7, 0, 4), ...frames(9, 0, 4)]);
});

test("frames that the player has already are left out", () => {
  const { splice, got } = spliced(start(group(5, 7), group(5, 8)), start(group(5, 8), group(5, 9)), start(group(5, 6)));
  assert.deepEqual(got, [...HEADERS, ...frames(7, 0, 4), ...frames(8, 0, 4), ...frames(9, 0, 4)]);
  assert.equal(splice.resume, "5.9.3");
});

test("two connections at once give each frame once", () => {
  const splice = new Splice();
  const [old, young] = [splice.connection(), splice.connection()];
  const got = [old.push(start(group(5, 7))), young.push(start(group(5, 8))), old.push(group(5, 8)), young.push(group(5, 9))];
  assert.deepEqual(got.flatMap(read), [...HEADERS, ...frames(7, 0, 4), ...frames(8, 0, 4), ...frames(9, 0, 4)]);
});

test("headers are handed on when they say something new", () => {
  const other = bytes(fileHeader, metadata(1280), videoConfig(9), audioConfig(4, 5), group(5, 8));
  assert.deepEqual(spliced(start(group(5, 7)), other).got.slice(8), ["18", "9", ...frames(8, 0, 4)]);
});

test("a configuration repeated within a connection is left out", () => {
  const said = start(group(5, 7), videoConfig(1, 2, 3), audioConfig(6), group(5, 8));
  assert.deepEqual(spliced(said).got.slice(8), ["8", ...frames(8, 0, 4)]);
});

test("frames that the edge left out are counted over", () => {
  const shed = bytes(onWeir({ epoch: 5, group: 7, frame: 6 }), video(400, 7, 6));
  assert.equal(spliced(start(group(5, 7), shed)).splice.resume, "5.7.6");
});

test("only a new player goes on when", () => {
  const rows = [
    ["the epoch is another", [start(group(5, 7)), start(group(6, 0))]],
    ["the epoch changes within a connection", [start(group(5, 7), group(6, 0))]],
    ["more than ten seconds were missed", [start(group(5, 7)), start(group(5, 80))]],
    ["the other edge tells no positions", [start(group(5, 7)), start(video(0, 0, 0))]],
  ];
  for (const [when, connections] of rows) assert.throws(() => spliced(...connections), Anew, when);
});

test("an edge that tells no positions plays, and cannot be resumed", () => {
  const { splice, got } = spliced(start(video(0, 0, 0), video(40, 0, 1)));
  assert.deepEqual(got, [...HEADERS, "0.0", "0.1"]);
  assert.equal(splice.resume, "");
  assert.ok(!splice.isOpen);
});

test("a connection that broke before its first frame can be followed by any", () => {
  const { splice, got } = spliced(start(onWeir({ epoch: 5, group: 7 })), start(group(5, 9)));
  assert.deepEqual(got, [...HEADERS, ...frames(9, 0, 4)]);
  assert.ok(splice.isOpen);
});

test("times that wrap after 49 days are no gap", () => {
  const at = (number, time) => start(onWeir({ epoch: 5, group: number }), video(time, number, 0));
  assert.deepEqual(spliced(at(7, 0xffffffff), at(8, 39)).got.slice(4), ["7.0", "8.0"]);
});

test("onWeir without a position is skipped, with one that is none it is malformed", () => {
  assert.equal(spliced(start(group(5, 7, 2), onWeir({ move: "later", deadline: 1 }), video(80, 7, 2))).splice.resume, "5.7.2");
  for (const members of [{ epoch: 5 }, { epoch: 5, group: 1.5 }, { epoch: NaN, group: 1 }, { epoch: 5, group: 1, frame: "x" }]) {
    assert.throws(() => spliced(start(onWeir(members))), Malformed, JSON.stringify(members));
  }
});

test("whatever the bytes are, the outcome is tags, Malformed or Anew", () => {
  const whole = start(group(5, 7), group(5, 8), tag(18, 0, [2, 0, 0]));
  let seed = 1;
  const random = (below) => (seed = (seed * 48271) % 0x7fffffff) % below;
  for (let round = 0; round < 2000; round += 1) {
    const said = whole.slice();
    for (let i = random(4); i >= 0; i -= 1) said[random(said.length)] = random(256);
    try {
      spliced(said);
    } catch (error) {
      assert.ok(error instanceof Malformed || error instanceof Anew, `round ${round}: ${error.stack}`);
    }
  }
});
