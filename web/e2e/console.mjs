// Opens the console in a real browser, watches from a place, and prints what it saw as JSON.
// usage: node console.mjs CONSOLE_URL PLACE EDGE_ID [SCREENSHOT.png]

import { chromium } from "playwright-core";

const [url, place, edge, screenshot] = process.argv.slice(2);
const PATIENCE_MS = 30_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  ],
});
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  page.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#map .node.edge.up").length >= 3);
  const edges = await page.$$eval("#map .node.edge", (nodes) => nodes.map((node) => node.dataset.node));
  await page.selectOption("#place", { label: place });
  await page.waitForFunction((id) => document.getElementById("watch").dataset.edge === id, edge);
  await page.waitForFunction(() => document.getElementById("video").currentTime > 0.5);

  // The picture carries its number: 16 squares at its top, black 0, white 1, lowest bit left.
  const number = () => page.evaluate(() => {
    const video = document.getElementById("video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [640, 360];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, 640, 360);
    let bits = 0;
    for (let i = 0; i < 16; i += 1) {
      if (context.getImageData(i * 40 + 20, 20, 1, 1).data[0] > 127) bits |= 1 << i;
    }
    return bits;
  });
  const numbers = [];
  const until = Date.now() + PATIENCE_MS;
  while (numbers.length < 5 && Date.now() < until) {
    const seen = await number();
    if (numbers.at(-1) !== seen) numbers.push(seen);
    await page.waitForTimeout(200);
  }
  if (screenshot) {
    await page.waitForTimeout(3000); // let the counters settle for the picture
    await page.screenshot({ path: screenshot });
  }
  const served = await page.$eval("#watch", (section) => section.dataset.edge);
  console.log(JSON.stringify({ edges, served, numbers, errors }));
} finally {
  await browser.close();
}
