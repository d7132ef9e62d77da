import assert from "node:assert/strict";
import { test } from "node:test";
import { Rate } from "../src/rate.js";

test("the rate is that of the last four seconds", () => {
  const rate = new Rate();
  assert.equal(rate.bps(0), 0);
  for (let at = 0; at <= 8000; at += 500) rate.push(50_000, at);
  assert.equal(rate.bps(8000), 9 * 100_000);
  assert.equal(rate.bps(12_100), 0);
});
