// What the scripts share: a real browser, and reading the number that the test picture carries.

import { chromium } from "playwright-core";

export const PATIENCE_MS = 30_000;

/** Runs `use` with a page of a browser that is closed afterwards; `errors` collects what the page complains of. */
export async function withPage(use) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
      "--ignore-certificate-errors", // the tests' edges sign their own
    ],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(PATIENCE_MS);
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await use(page, errors);
  } finally {
    await browser.close();
  }
}

/** Waits until that edge serves the page and its picture moves. */
export async function servedBy(page, edge) {
  await page.waitForFunction((id) => document.getElementById("watch").dataset.edge === id, edge);
  await page.waitForFunction(() => document.getElementById("video").currentTime > 0.5);
}

/** Five different numbers in the order in which they were seen, or fewer when the picture stands still. */
export async function numbersSeen(page) {
  const numbers = [];
  const until = Date.now() + PATIENCE_MS;
  while (numbers.length < 5 && Date.now() < until) {
    const seen = await page.evaluate(numberInPicture);
    if (numbers.at(-1) !== seen) numbers.push(seen);
    await page.waitForTimeout(200);
  }
  return numbers;
}

/** The picture carries its number: 16 squares at its top, black 0, white 1, lowest bit left. */
function numberInPicture() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 360];
  const context = canvas.getContext("2d");
  context.drawImage(document.getElementById("video"), 0, 0, 640, 360);
  let bits = 0;
  for (let i = 0; i < 16; i += 1) {
    if (context.getImageData(i * 40 + 20, 20, 1, 1).data[0] > 127) bits |= 1 << i;
  }
  return bits;
}
