// Takes a stream from an edge over HTTP/2 (prior knowledge) and, from a page, over a WebSocket; prints what came as JSON.
// usage: node transports.mjs MEDIA_URL PAGE_URL BYTES

import { connect } from "node:http2";
import { PATIENCE_MS, withPage } from "./page.mjs";

const [media, pageUrl, enough] = process.argv.slice(2);
const HEADER = 13; // FLV: nine bytes, then the size of the tag before the first, which is 0

const http2 = await overHttp2(new URL(media), Number(enough));
await withPage(async (page) => {
  await page.goto(pageUrl);
  const websocket = await page.evaluate(overWebSocket, [media.replace(/^http/, "ws"), Number(enough), HEADER, PATIENCE_MS]);
  console.log(JSON.stringify({ http2, websocket }));
});

function overHttp2(url, enough) {
  return new Promise((done, failed) => {
    const session = connect(url.origin);
    const request = session.request({ ":path": url.pathname + url.search });
    const seen = { status: 0, protocol: session.alpnProtocol, header: [], bytes: 0 };
    const end = (settle, value) => {
      clearTimeout(timer);
      session.destroy();
      settle(value);
    };
    const timer = setTimeout(() => end(failed, new Error(`HTTP/2: only ${JSON.stringify(seen)}`)), PATIENCE_MS);
    session.on("error", (error) => end(failed, error));
    request.on("error", (error) => end(failed, error));
    request.on("response", (headers) => {
      seen.status = headers[":status"];
      seen.protocol = session.alpnProtocol;
      seen.type = headers["content-type"];
    });
    request.on("end", () => end(failed, new Error(`HTTP/2 ended: ${JSON.stringify(seen)}`)));
    request.on("data", (chunk) => {
      seen.header.push(...chunk.subarray(0, HEADER - seen.header.length));
      seen.bytes += chunk.length;
      if (seen.bytes >= enough) end(done, seen);
    });
  });
}

/** Runs in the page. */
function overWebSocket([url, enough, headerLength, patienceMs]) {
  return new Promise((done, failed) => {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const seen = { header: [], bytes: 0, text: 0 };
    const fail = (what) => failed(new Error(`WebSocket ${what}: ${JSON.stringify(seen)}`));
    setTimeout(() => fail("too slow"), patienceMs);
    socket.onclose = () => fail("closed");
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") seen.text += 1;
      else {
        const bytes = new Uint8Array(data);
        seen.header.push(...bytes.subarray(0, headerLength - seen.header.length));
        seen.bytes += bytes.length;
      }
      if (seen.bytes >= enough) done(seen);
    };
  });
}
