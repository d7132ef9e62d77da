// Opens a console that asks for its admin token: without one, with a wrong one, with the right one, and once more.
// usage: node token.mjs CONSOLE_URL TOKEN

import { withPage } from "./page.mjs";

const [url, token] = process.argv.slice(2);

await withPage(async (page) => {
  const asked = () => page.waitForFunction(() => document.getElementById("gate").open);
  const why = () => page.$eval("#gate-why", (line) => line.textContent);
  const nodes = () => page.waitForFunction(() => document.querySelectorAll("#nodes tbody td.health").length > 0);
  await page.goto(url);
  await asked();
  const missing = await why();
  await page.fill("#token", "certainly not the token");
  await page.keyboard.press("Enter");
  await page.waitForFunction((before) => document.getElementById("gate").open
    && document.getElementById("gate-why").textContent !== before, missing);
  const wrong = await why();
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await nodes();
  const kept = { fragment: new URL(page.url()).hash, session: await page.evaluate(() => Object.values(sessionStorage)) };
  await page.goto("about:blank");
  await page.goto(url); // the tab remembers
  await nodes();
  console.log(JSON.stringify({ missing, wrong, kept }));
});
