// The admin API as the console uses it. The admin token comes from the page's fragment (#token=...), else from this
// tab's storage; it is sent with each call to this origin and nowhere else.

const TIMEOUT_MS = 5000; // a console that hangs is worse than one that says so
const KEY = "weir.token";

let token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem(KEY);
if (token) remember(token);
addEventListener("hashchange", () => location.reload()); // an address with another token was pasted

/** An answer that is not a success; `status` is 0 when nobody answered. */
export class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const hasToken = () => Boolean(token);

/** Keeps the token in this tab's storage and in the fragment, so that the address can be used again. */
export function remember(given) {
  token = given;
  sessionStorage.setItem(KEY, given);
  const fragment = new URLSearchParams(location.hash.slice(1));
  fragment.set("token", given);
  history.replaceState(null, "", `#${fragment}`);
}

export const overview = () => call("api/v1/overview");
export const places = () => call("api/v1/places");
export const explain = (stream, from) => call(`api/v1/explain?${new URLSearchParams({ stream, from })}`);
export const events = () => call("api/v1/events");
/** What is expected of the series whose names begin so. */
export const forecast = (series) => call(`api/v1/forecast?${new URLSearchParams({ series })}`);
/** What was expected of a series in the last day. */
export const trail = (series) => call(`api/v1/forecast/trail?${new URLSearchParams({ series })}`);
/** The values of a series from so many seconds before now. */
export const past = (series, from) => call(`api/v1/history?${new URLSearchParams({ series, from })}`);
/** Prices, splits and bills of the newest plan. */
export const plan = () => call("api/v1/plan");
/** Policies: `what` is an order or a question of the policies' API, "" asks for those in force. */
export const policy = (what, method = "GET", body) => call(`api/v1/policy${what && `/${what}`}`, method, body);
/** A version's file, and an example of one. */
export const policyText = (version) => call(`api/v1/policy/versions/${version}`);
export const policyExample = () => call("api/v1/policy/example");
export const drain = (node, on) =>
  call(`api/v1/nodes/${encodeURIComponent(node)}/drain`, on ? "POST" : "DELETE");

/** Where the public listener takes a viewer with this query to be. */
export const resolve = (publicUrl, query) => send(`${publicUrl}/api/v1/resolve?${new URLSearchParams(query)}`, {});

const call = (path, method = "GET", body) => {
  const authorization = token ? { authorization: `Bearer ${token}` } : {};
  const json = body === undefined ? {} : { "content-type": "application/json" };
  return send(path, { method, headers: { ...authorization, ...json }, body: body && JSON.stringify(body) });
};

async function send(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new Fault(0, "the scheduler does not answer");
  }
  const isJson = response.headers.get("content-type")?.includes("json");
  const body = isJson ? await response.json().catch(() => ({})) : await response.text();
  if (!response.ok) throw new Fault(response.status, body?.detail || body?.title || `${url}: ${response.status}`);
  return body;
}
