// Watches on the console's page and measures what a viewer sees. Takes a command a line, answers each with a line of JSON:
//   play STREAM PROTOCOL   chooses both and waits until the picture moves
//   watch SECONDS          measures for that long
//   begin                  begins to measure; `moved EDGE` ends when another edge than that serves and SECONDS passed
//   moved EDGE SECONDS
//   choose STREAM          without waiting for anything
//   quality NUMBER         chooses a rung ("-" for automatic)
//   resized WIDTH SECONDS  waits for a picture of that width and measures for so long more
//   notice                 waits until the player gives up, and says why
//   screenshot FILE WIDTH HEIGHT
// usage: node watch.mjs CONSOLE_URL

import { createInterface } from "node:readline";
import { observe, record } from "./observe.mjs";
import { withPage } from "./page.mjs";

const [url] = process.argv.slice(2);

const commands = {
  async choose(page, stream) {
    await page.waitForFunction((key) => document.querySelector(`#stream option[value="${key}"]`), stream);
    await page.selectOption("#stream", stream);
    return {};
  },

  async play(page, stream, protocol) {
    await commands.choose(page, stream);
    await page.selectOption("#protocol", protocol);
    await page.evaluate(() => (window.frames_seen = []));
    await page.waitForFunction(() => document.getElementById("watch").dataset.state === "playing" && window.frames_seen.length > 25);
    return record(page);
  },

  async watch(page, seconds) {
    await page.evaluate(() => window.begin());
    await page.waitForTimeout(Number(seconds) * 1000);
    return record(page);
  },

  async begin(page) {
    await page.evaluate(() => window.begin());
    return {};
  },

  async moved(page, edge, seconds) {
    await page.waitForFunction((id) => !["", id].includes(document.getElementById("watch").dataset.edge), edge);
    await page.waitForTimeout(Number(seconds) * 1000);
    return record(page);
  },

  async quality(page, number) {
    await page.selectOption("#quality", number === "-" ? "" : number);
    return {};
  },

  async resized(page, width, seconds) {
    await page.waitForFunction((width) => window.frames_seen.at(-1)?.width === width, Number(width));
    await page.waitForTimeout(Number(seconds) * 1000);
    return record(page);
  },

  async notice(page) {
    await page.waitForFunction(() => document.getElementById("watch").dataset.state === "failed");
    return { notice: await page.textContent("#notice") };
  },

  async screenshot(page, file, width, height) {
    await page.setViewportSize({ width: Number(width), height: Number(height) });
    await page.waitForTimeout(1500); // the map is drawn anew, numbers come once a second
    await page.screenshot({ path: file, fullPage: true });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    return { overflow };
  },
};

await withPage(async (page, errors) => {
  await page.addInitScript(observe);
  const protocols = new Set(); // of parts and segments, as the browser names them
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.responseReceived", ({ response }) => response.url.includes(".m4s") && protocols.add(response.protocol));
  await page.goto(url);
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...words] = line.split(" ");
    console.log(JSON.stringify({ ...(await commands[command](page, ...words)), protocols: [...protocols], errors: errors.splice(0) }));
  }
});
