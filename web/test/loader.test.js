import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeCluster, breaks, ends, says } from "./cluster.js";
import { bytes, group, onWeir, read, start, video } from "./flv.js";

// mpegts.js looks for a browser when it is loaded.
globalThis.self = globalThis;
globalThis.navigator ??= { userAgent: "node" };
const { Loader } = await import("../src/loader.js");
const { Dial } = await import("../src/dial.js");
const { Splice } = await import("../src/splice.js");

const PATIENCE_MS = 20_000;
const HEADERS = ["F", "18", "9", "8"];
const frames = (number, from = 0, to = 4) => Array.from({ length: to - from }, (_, i) => `${number}.${from + i}`);

let cluster;
let players = [];
beforeEach(async () => (cluster = await FakeCluster.start()));
afterEach(() => {
  players.forEach((player) => player.loader.destroy());
  players = [];
  cluster.stop();
});

/** What mpegts.js does with a loader: it takes bytes at counted places, and may open another one later. */
class FakePlayer {
  got = new Uint8Array();
  said = [];
  failing = false;
  #waiting = new Set();

  constructor() {
    const on = Object.fromEntries(
      ["connected", "resumed", "moved", "lost", "anew"].map((event) => [event, (...what) => this.#note(event, ...what)]),
    );
    const dial = new Dial(undefined, () => 0);
    this.config = { weir: { address: cluster.address, edgeAt: cluster.edgeAt, dial, splice: new Splice(), on } };
    this.open(0);
    players.push(this);
  }

  open(from) {
    this.loader = new Loader(null, this.config);
    this.loader.onDataArrival = (buffer, at, total) => {
      assert.equal(at, this.got.length);
      if (this.failing) throw new Error("no such codec");
      this.got = bytes(this.got, new Uint8Array(buffer));
      assert.equal(total, this.got.length);
      this.#look();
    };
    this.loader.open({}, { from, to: -1 });
  }

  get read() {
    return read(this.got);
  }

  /** Resolves when `isTrue(player)`. */
  until(isTrue) {
    return new Promise((done, failed) => {
      const look = () => isTrue(this) && (clearTimeout(timer), this.#waiting.delete(look), done());
      const timer = setTimeout(() => failed(new Error(`never: ${isTrue}, ${JSON.stringify([this.read, this.said])}`)), PATIENCE_MS);
      this.#waiting.add(look);
      look();
    });
  }

  #note(...what) {
    this.said.push(what.filter((it) => it !== undefined).join(" "));
    this.#look();
  }

  #look() {
    for (const look of this.#waiting) look();
  }
}

const has = (frame) => (player) => player.read.includes(frame);
const heard = (word) => (player) => player.said.some((it) => it.startsWith(word));

test("asks for positions, follows the redirect, and hands on what comes", async () => {
  cluster.next(says(start(group(5, 7))));
  const player = new FakePlayer();
  await player.until(has("7.3"));
  assert.deepEqual(player.read, [...HEADERS, ...frames(7)]);
  assert.deepEqual(player.said, ["connected a"]);
  assert.deepEqual(cluster.asked, [{ edge: "a", weir: "1", exclude: "", resume: "" }]);
});

for (const [how, act, reason] of [["breaks", breaks, "the connection broke"], ["ends", ends, "the connection ended"]]) {
  test(`goes on at another edge after the last whole frame when the connection ${how}`, async () => {
    cluster.next(act(start(group(5, 7)).slice(0, -1)), says(start(group(5, 7, 4, 3), group(5, 8))));
    const player = new FakePlayer();
    await player.until(has("8.3"));
    assert.deepEqual(player.read, [...HEADERS, ...frames(7), ...frames(8)]);
    assert.deepEqual(player.said, ["connected a", `lost ${reason}`, "connected b", "resumed"]);
    assert.deepEqual(cluster.asked[1], { edge: "b", weir: "1", exclude: "a", resume: "5.7.2" });
  });
}

test("goes on at another edge when the connection stands still", async () => {
  cluster.next(says(start(group(5, 7))), says(start(group(5, 8))));
  const player = new FakePlayer();
  await player.until(has("8.3"));
  assert.deepEqual(player.said, ["connected a", "lost nothing came for 3 s", "connected b", "resumed"]);
  assert.equal(cluster.asked[1].resume, "5.7.3");
});

test("goes on when an edge sends what is not FLV", async () => {
  cluster.next(says("<!doctype html>"), says(start(group(5, 8))));
  const player = new FakePlayer();
  await player.until(has("8.3"));
  assert.deepEqual(player.said, ["connected a", "lost the edge sent something else than FLV", "connected b"]);
});

test("says why it is refused, and asks again", async () => {
  for (const [status, reason] of [[403, "not allowed to watch"], [404, "not on air"], [503, "no edge has room"], [504, "the edge gets no picture"]]) {
    cluster.next(status, says(start(group(5, 7))));
    const player = new FakePlayer();
    await player.until(has("7.3"));
    assert.equal(player.said[0], `lost ${reason}`);
  }
});

test("does not avoid an edge that says the stream is not on air, and does one that is full", async () => {
  cluster.next(404, 503, says(start(group(5, 7))));
  await new FakePlayer().until(has("7.3"));
  assert.deepEqual(cluster.asked.map((it) => [it.edge, it.exclude]), [["a", ""], ["a", ""], ["b", "a"]]);
});

test("takes avoided edges again when no other is left", async () => {
  cluster.next(breaks(start(group(5, 7))), 503, says(start(group(5, 8))));
  const player = new FakePlayer();
  await player.until(has("8.3"));
  assert.deepEqual(cluster.asked.map((it) => it.edge), ["a", "b", "a"]);
});

test("wants a new player when the stream begins anew, and leaves the connection", async () => {
  let left;
  const isLeft = new Promise((done) => (left = done));
  cluster.next((response) => {
    response.on("close", left);
    says(start(group(5, 7)), group(6, 0))(response);
  });
  const player = new FakePlayer();
  await player.until(heard("anew"));
  await isLeft;
  assert.deepEqual(player.said, ["connected a", "anew the stream began anew"]);
});

test("wants a new player when an edge that tells no positions is lost", async () => {
  cluster.next(breaks(start(video(0, 0, 0))));
  const player = new FakePlayer();
  await player.until(heard("anew"));
  assert.deepEqual(player.said, ["connected a", "anew the connection broke a"]);
});

test("wants a new player when the player fails on what it is given", async () => {
  cluster.next(says(start(group(5, 7))));
  const player = new FakePlayer();
  player.failing = true;
  await player.until(heard("anew"));
  assert.deepEqual(player.said, ["connected a", "anew the player failed: no such codec"]);
});

test("goes on counting when the player pauses it and opens another", async () => {
  cluster.next(says(start(group(5, 7))), says(start(group(5, 7, 4, 3), group(5, 8))));
  const player = new FakePlayer();
  await player.until(has("7.3"));
  player.loader.destroy();
  player.open(player.got.length);
  await player.until(has("8.3"));
  assert.deepEqual(player.read, [...HEADERS, ...frames(7), ...frames(8)]);
  assert.equal(cluster.asked[1].resume, "5.7.3");
});

const leave = () => onWeir({ move: true });

test("goes over to another edge where both have the same frame, when its edge wants it to", async () => {
  let old;
  const isLeft = new Promise((left) => {
    cluster.next((response) => {
      old = response.on("close", left);
      says(start(group(5, 7)), leave())(response);
    });
  });
  cluster.next((response) => {
    says(start(group(5, 8), group(5, 9)))(response);
    says(group(5, 8))(old); // what plays goes on until the other one has its next frame
  });
  const player = new FakePlayer();
  await player.until(has("9.3"));
  await isLeft;
  assert.deepEqual(player.read, [...HEADERS, ...frames(7), ...frames(8), ...frames(9)]);
  assert.deepEqual(player.said, ["connected a", "connected b", "moved"]);
  assert.deepEqual(cluster.asked[1], { edge: "b", weir: "1", exclude: "", resume: "5.7.3", playing: "a" });
});

for (const [what, answer] of [
  ["it is full", (response) => response.writeHead(503).end()],
  ["its connection ends at once", ends(start())],
  ["it sends what is not FLV", ends("<!doctype html>")],
]) {
  test(`stays where it is when the other edge is no good: ${what}`, async () => {
    let old;
    cluster.next((response) => says(start(group(5, 7)), leave())((old = response)));
    cluster.next((response) => {
      answer(response);
      says(group(5, 8))(old);
    });
    const player = new FakePlayer();
    await player.until(has("8.3"));
    assert.deepEqual(player.read, [...HEADERS, ...frames(7), ...frames(8)]);
    assert.deepEqual(player.said, ["connected a"]);
  });
}

test("stays where it is when the scheduler has no better edge, and looks again when it is asked again", async () => {
  let old;
  cluster.stays = true;
  cluster.next((response) => says(start(group(5, 7)), leave(), group(5, 8))((old = response)));
  const player = new FakePlayer();
  await player.until(has("8.3"));
  assert.equal(cluster.asked.length, 1);
  cluster.stays = false;
  cluster.next((response) => {
    says(start(group(5, 9), group(5, 10)))(response);
    says(group(5, 9))(old);
  });
  const again = setInterval(() => old.write(leave()), 20); // the first answer may still be on its way
  await player.until(has("10.3"));
  clearInterval(again);
  assert.deepEqual(player.said, ["connected a", "connected b", "moved"]);
});

test("says nothing and asks nobody after it was closed", async () => {
  cluster.next(breaks(start(group(5, 7))), says(start(group(5, 8))));
  const player = new FakePlayer();
  await player.until(heard("lost"));
  player.loader.destroy();
  assert.ok(!player.loader.isWorking());
  const said = [...player.said];
  await new Promise((passed) => setTimeout(passed, 300)); // the wait before the next dial is 100 ms here
  assert.deepEqual(player.said, said);
  assert.equal(cluster.asked.length, 1);
});
