// Watches through one edge, says so in a line, and waits until another edge serves the page; then prints what it saw.
// Whoever started this kills the first edge meanwhile.
// usage: node failover.mjs CONSOLE_URL EDGE_ID OTHER_EDGE_ID

import { servedBy, withPage } from "./page.mjs";

const [url, edge, other] = process.argv.slice(2);

await withPage(async (page) => {
  await page.goto(url);
  await servedBy(page, edge);
  console.log("playing");
  page.setDefaultTimeout(20_000); // what the page promises, on a slow machine too
  await servedBy(page, other);
  await page.waitForFunction((id) => document.querySelector(`#map .node.down[data-node="${id}"]`), edge);
  const shown = await page.$eval("#playing", (list) => list.textContent);
  console.log(JSON.stringify({ served: await page.$eval("#watch", (section) => section.dataset.edge), shown }));
});
