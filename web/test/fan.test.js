import assert from "node:assert/strict";
import { test } from "node:test";
import { curves, title, values } from "../src/fan.js";

const lane = (for_ms, median) => ({ for_ms, median, quantiles: { 0.9: median + 1, 0.95: median + 2, 0.99: median + 3 } });

test("past, trail and fan share one time line, and the fan begins at the last value", () => {
  const past = { first_ms: 60_000, step_ms: 60_000, values: [5, null, 7] };
  const trail = { at_ms: [30_000, 120_000, 180_000], median: [1, 2, 3], upper: [4, 5, 6] };
  const one = { now: 7, made_at_ms: 240_000, forecasts: [lane(300_000, 8), lane(540_000, 9)] };
  const [seconds, top, upper, median, upperThen, then, was] = curves(past, trail, one);
  assert.deepEqual(seconds, [120, 180, 240, 300, 540]);
  assert.deepEqual(was, [5, null, 7, null, null]);
  assert.deepEqual(median, [null, null, 7, 8, 9]);
  assert.deepEqual(upper, [null, null, 7, 9, 10]);
  assert.deepEqual(top, [null, null, 7, 11, 12]);
  assert.deepEqual([upperThen, then], [[5, 6, null, null, null], [2, 3, null, null, null]]);
});

test("a scaled step that is no whole millisecond stays one moment", () => {
  const past = { first_ms: 1000, step_ms: 1041.6667, values: [1, 2] };
  const one = { now: 2, made_at_ms: 3084, forecasts: [] };
  assert.equal(curves(past, { at_ms: [], median: [], upper: [] }, one)[0].length, 2);
});

test("names and numbers read well", () => {
  assert.equal(title("total/demand"), "All viewers");
  assert.equal(title("region/DE/demand"), "Region DE");
  assert.equal(title("node/edge-1/egress_bps"), "edge-1: egress");
  assert.equal(title("stream/live/show/viewers"), "Stream live/show");
  const names = { bits: () => "bits", count: String, percent: () => "percent" };
  assert.equal(values("node/a/cpu", names)(0.5), "percent");
  assert.equal(values("node/a/egress_bps", names)(5), "bits");
  assert.equal(values("region/DE/demand", names)(12.6), "13");
  assert.equal(values("region/DE/demand", names)(1.26), "1.3");
});
