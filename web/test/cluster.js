// A scheduler and two edges in one server, for the tests: the scheduler sends to the first edge that is not excluded
// and that the player does not play from, and each edge says what the test gives it to say.

import { createServer } from "node:http";
import { once } from "node:events";

export const EDGES = ["a", "b"];

export class FakeCluster {
  stays = false; // the scheduler has no better edge for who plays
  asked = []; // {edge, weir, resume, exclude, playing} of each dial that reached an edge, in order
  #scripts = [];
  #server = createServer((request, response) => this.#answer(request, response));

  static async start() {
    const it = new FakeCluster();
    it.#server.listen(0, "127.0.0.1");
    await once(it.#server, "listening");
    it.url = `http://127.0.0.1:${it.#server.address().port}`;
    return it;
  }

  /** What the edge does that is asked next: `act(response, query)`; a number is a status. Then the one after it. */
  next(...acts) {
    this.#scripts.push(...acts);
  }

  address = (ask) => `${this.url}/live/show.flv?${new URLSearchParams({ weir: "1", ...ask })}`;
  edgeAt = (url) => EDGES.find((edge) => new URL(url).pathname.startsWith(`/${edge}/`));

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    const query = Object.fromEntries(searchParams);
    const edge = EDGES.find((it) => pathname.startsWith(`/${it}/`));
    if (edge) {
      this.asked.push({ edge, ...query });
      const act = this.#scripts.shift() ?? 404;
      return typeof act === "number" ? response.writeHead(act).end() : act(response, query);
    }
    if (query.playing && this.stays) return response.writeHead(204).end();
    const [chosen] = EDGES.filter((it) => it !== query.playing && !(query.exclude ?? "").split(",").includes(it));
    if (!chosen) return response.writeHead(503).end();
    return response.writeHead(302, { location: `/${chosen}${request.url}` }).end();
  }
}

/** Sends bytes and leaves the connection open. */
export const says = (...parts) => (response) => parts.forEach((part) => response.write(part));

/** Sends bytes and ends the response. */
export const ends = (...parts) => (response) => {
  says(...parts)(response);
  response.end();
};

/** Sends bytes and breaks the connection. */
export const breaks = (...parts) => (response) => {
  says(...parts.slice(0, -1))(response);
  response.write(parts.at(-1), () => setImmediate(() => response.destroy()));
};
