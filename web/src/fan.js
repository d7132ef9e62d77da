// A series and its forecasts as the columns that the plot takes: no page here, so that it can be tested alone.

/** `[seconds, 99 %, 90 %, median, 90 % then, median then, actual]`, each with a value or null a moment. */
export function curves(past, trail, one) {
  const rows = new Map();
  const at = (ms) => {
    const second = Math.round(ms / 100) / 10; // both count in steps, and may round otherwise
    if (!rows.has(second)) rows.set(second, [null, null, null, null, null, null]);
    return rows.get(second);
  };
  past.values.forEach((value, nth) => {
    if (value !== null) at(past.first_ms + (nth + 1) * past.step_ms)[5] = value;
  });
  const from = past.first_ms;
  trail.at_ms.forEach((ms, nth) => {
    if (ms < from) return;
    const row = at(ms);
    row[3] = trail.upper[nth];
    row[4] = trail.median[nth];
  });
  if (one.now !== null) at(one.made_at_ms).splice(0, 3, one.now, one.now, one.now);
  for (const lane of one.forecasts) at(lane.for_ms).splice(0, 3, lane.quantiles["0.99"], lane.quantiles["0.9"], lane.median);
  const sorted = [...rows].sort((a, b) => a[0] - b[0]);
  return [sorted.map(([second]) => second), ...[0, 1, 2, 3, 4, 5].map((column) => sorted.map(([, row]) => row[column]))];
}

/** A series' name as people read it. */
export function title(id) {
  const [what, ...rest] = id.split("/");
  const kind = rest.pop();
  const name = rest.join("/");
  if (what === "total") return "All viewers";
  if (what === "region") return `Region ${name}`;
  if (what === "stream") return `Stream ${name}`;
  return `${name}: ${kind === "cpu" ? "processors" : "egress"}`;
}

/** How a series' values are written. */
export function values(id, { bits, count, percent }) {
  if (id.endsWith("/cpu")) return percent;
  if (id.endsWith("_bps")) return bits;
  return (value) => count(value >= 10 ? Math.round(value) : Math.round(value * 10) / 10);
}
