// The admin API as the console uses it. A token in the page's fragment (#token=...) is sent with each call
// and never leaves this origin.

const token = new URLSearchParams(location.hash.slice(1)).get("token");
const TIMEOUT_MS = 5000; // a console that hangs is worse than one that says so

async function call(path, method = "GET") {
  const response = await fetch(path, {
    method,
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? problem.title ?? `${method} ${path}: ${response.status}`);
  }
  return response.headers.get("content-type")?.includes("json") ? response.json() : null;
}

export const overview = () => call("api/v1/overview");
export const places = () => call("api/v1/places");
export const drain = (node, on) =>
  call(`api/v1/nodes/${encodeURIComponent(node)}/drain`, on ? "POST" : "DELETE");
