// Opens the console in a real browser, watches from a place, and prints what it saw as JSON.
// usage: node console.mjs CONSOLE_URL PLACE EDGE_ID OTHER_PLACE OTHER_EDGE_ID [SCREENSHOT.png]

import { numbersSeen, servedBy, withPage } from "./page.mjs";

const [url, place, edge, otherPlace, otherEdge, screenshot] = process.argv.slice(2);

await withPage(async (page, errors) => {
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#map .node.edge.up").length >= 3);
  const edges = await page.$$eval("#map .node.edge", (nodes) => nodes.map((node) => node.dataset.node));
  await page.selectOption("#place", { label: place });
  await servedBy(page, edge);
  const numbers = await numbersSeen(page);
  if (screenshot) {
    await page.waitForTimeout(3000); // let the counters settle for the picture
    await page.screenshot({ path: screenshot });
  }
  const served = await page.$eval("#watch", (section) => section.dataset.edge);
  const labels = await page.$$eval("#map .labels text", (texts) => texts.map((text) => text.getBoundingClientRect().toJSON()));
  const chosen = async () => {
    await page.waitForFunction(() => document.querySelector("#explain tr.chosen"));
    return page.$eval("#explain tr.chosen td", (cell) => cell.textContent);
  };
  const explained = await chosen();
  await page.selectOption("#place", { label: otherPlace });
  await servedBy(page, otherEdge);
  console.log(JSON.stringify({ edges, served, numbers, labels, explained, errors }));
});
