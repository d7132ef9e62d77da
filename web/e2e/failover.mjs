// Watches through one edge, says so in a line, and waits until another edge serves the page; then prints what it saw.
// Whoever started this kills the first edge meanwhile.
// usage: node failover.mjs CONSOLE_URL EDGE_ID OTHER_EDGE_ID [SCREENSHOT.png]

import { servedBy, withPage } from "./page.mjs";

const [url, edge, other, screenshot] = process.argv.slice(2);
const BUFFERED_S = 0.6; // what the page means to have before it can change edges unseen

await withPage(async (page) => {
  await page.addInitScript(observe);
  await page.goto(url);
  await servedBy(page, edge);
  await page.waitForFunction((enough) => window.seen.at(-1)?.buffered >= enough, BUFFERED_S);
  console.log("playing");
  page.setDefaultTimeout(20_000); // what the page promises, on a slow machine too
  await page.waitForFunction((id) => document.getElementById("watch").dataset.edge === id, other);
  const from = await page.evaluate(() => window.seen.at(-1).at);
  await page.waitForFunction((then) => window.seen.at(-1).at > then + 5, from); // seconds of picture from the other edge
  await page.waitForFunction((id) => document.querySelector(`#map .node.down[data-node="${id}"]`), edge);
  if (screenshot) await page.screenshot({ path: screenshot });
  const shown = await page.$eval("#playing", (list) => Object.fromEntries([...list.children].map((it) => [...it.children].map((part) => part.textContent))));
  const { seen, players } = await page.evaluate(() => ({ seen: window.seen, players: window.players }));
  const served = await page.$eval("#watch", (section) => section.dataset.edge);
  console.log(JSON.stringify({ served, shown, players, ...summary(seen) }));
});

/** Runs in the page: counts the players made, and notes where the picture is. */
function observe() {
  window.players = 0;
  window.seen = [];
  const make = URL.createObjectURL;
  URL.createObjectURL = (source) => {
    window.players += 1;
    return make.call(URL, source);
  };
  setInterval(() => {
    const video = document.getElementById("video");
    if (!video?.currentTime) return;
    const { buffered, currentTime: at } = video;
    const edge = document.getElementById("watch").dataset.edge;
    window.seen.push({ now: performance.now(), at, edge, buffered: buffered.length ? buffered.end(buffered.length - 1) - at : 0 });
  }, 50);
}

/** From when the edge was lost: what was buffered then, how often the picture stepped back, how long it stood still at most. */
function summary(seen) {
  const lost = seen.findIndex((it, i) => seen[i - 1]?.edge === edge && it.edge !== edge);
  let [back, still, longest] = [0, 0, 0];
  for (let i = Math.max(lost, 1); i < seen.length; i += 1) {
    const [before, now] = [seen[i - 1], seen[i]];
    if (now.at < before.at) back += 1;
    still = now.at === before.at ? still + now.now - before.now : 0;
    longest = Math.max(longest, still);
  }
  return { buffered_ms: Math.round(1000 * seen[lost - 1]?.buffered), back, still_ms: Math.round(longest) };
}
