import assert from "node:assert/strict";
import { test } from "node:test";
import { Dial } from "../src/dial.js";

function dial() {
  const clock = { now: 0, random: 0.5 };
  return { clock, dial: new Dial(() => clock.now, () => clock.random) };
}

test("waits grow to a cap", () => {
  const it = dial().dial;
  assert.deepEqual(Array.from({ length: 7 }, () => it.failed()), [200, 500, 1000, 2000, 5000, 5000, 5000]);
});

test("waits are spread from half to one and a half of a step", () => {
  const { dial: it, clock } = dial();
  clock.random = 0;
  assert.equal(it.failed(), 100);
  clock.random = 1;
  assert.equal(it.failed(), 750);
});

test("a connection that lasted begins a new count, a short one does not", () => {
  const { dial: it, clock } = dial();
  const after = (ms) => {
    it.connected();
    clock.now += ms;
    return it.failed();
  };
  assert.deepEqual([4999, 4999, 5000, 4999].map(after), [200, 500, 200, 500]);
  clock.now += 60_000;
  assert.equal(it.failed(), 1000); // time without a connection counts for nothing
});

test("an edge is avoided for half a minute", () => {
  const { dial: it, clock } = dial();
  it.failed("a");
  clock.now = 20_000;
  it.failed("b");
  assert.deepEqual(it.avoided, ["a", "b"]);
  clock.now = 30_000;
  assert.deepEqual(it.avoided, ["b"]);
  it.forgive();
  assert.deepEqual(it.avoided, []);
});
