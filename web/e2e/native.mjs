// Plays HLS by what the browser has itself: each address in a <video> of a page that has no script of its own, all at once.
// Prints as JSON what each showed in that time.
// usage: node native.mjs SECONDS URL...

import { withPage } from "./page.mjs";

const [seconds, ...urls] = process.argv.slice(2);

await withPage(async (page, errors) => {
  await page.evaluate(play, urls);
  await page.waitForFunction(() => [...document.querySelectorAll("video")].every((video) => video.currentTime > 1));
  const before = await page.evaluate(look);
  await page.waitForTimeout(Number(seconds) * 1000);
  const after = await page.evaluate(look);
  const moved = (now, i) => ({ ...now, at_s: now.at_s - before[i].at_s, pictures: now.pictures - before[i].pictures });
  console.log(JSON.stringify({ videos: after.map(moved), errors }));
});

/** Runs in the page. */
function play(urls) {
  const videos = urls.map((src) => Object.assign(document.createElement("video"), { src, muted: true, autoplay: true }));
  document.body.append(...videos);
}

/** Runs in the page. */
function look() {
  return [...document.querySelectorAll("video")].map((video) => ({
    source: video.currentSrc, // a blob where a script plays by Media Source Extensions
    at_s: video.currentTime,
    width: video.videoWidth,
    pictures: video.getVideoPlaybackQuality().totalVideoFrames,
  }));
}
