// Where labels and marks go so that none covers another: the more important ones choose first, and a label that
// finds no room is left out.

const GAP = 3; // pixels between a mark and its label, and between two marks

/** Moves marks ({x, y, r}, the more important first) apart; each keeps where it belongs as `home`. */
export function spread(marks) {
  const placed = [];
  for (const mark of marks) {
    const free = ([dx, dy]) =>
      placed.every((other) => Math.hypot(other.x - mark.x - dx, other.y - mark.y - dy) >= other.r + mark.r + GAP);
    const [dx, dy] = SPIRAL.find(free) ?? [0, 0];
    placed.push({ ...mark, home: [mark.x, mark.y], x: mark.x + dx, y: mark.y + dy });
  }
  return placed;
}

/** For each item ({x, y, r, width, height}) the left top corner of its label, or null. */
export function place(items, marks, bounds) {
  const taken = [];
  return items.map((item) => {
    const box = corners(item).map(([x, y]) => ({ x, y, width: item.width, height: item.height }));
    const found = box.find(
      (it) => inside(it, bounds) && !taken.some((other) => overlap(it, other)) && !marks.some((mark) => covers(it, mark)),
    );
    if (found) taken.push(found);
    return found ?? null;
  });
}

/** Above first, then beside, below and at the corners. */
function corners({ x, y, r, width, height }) {
  const [left, right] = [x - r - GAP - width, x + r + GAP];
  const [above, below] = [y - r - GAP - height, y + r + GAP];
  const [middle, centre] = [y - height / 2, x - width / 2];
  const near = r * 0.7;
  return [
    [centre, above], [right, middle], [left, middle], [centre, below],
    [x + near, y - near - height], [x - near - width, y - near - height], [x + near, y + near], [x - near - width, y + near],
  ];
}

const inside = (box, { width, height }) =>
  box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
const overlap = (a, b) =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

function covers(box, mark) {
  const x = Math.max(box.x, Math.min(mark.x, box.x + box.width));
  const y = Math.max(box.y, Math.min(mark.y, box.y + box.height));
  return Math.hypot(mark.x - x, mark.y - y) < mark.r;
}

/** Here, else around: below right first, in rings of growing radius. */
const SPIRAL = [[0, 0]].concat(
  [17, 32, 48].flatMap((radius) =>
    Array.from({ length: 8 }, (_, i) => [radius * Math.cos(((i + 1) * Math.PI) / 4), radius * Math.sin(((i + 1) * Math.PI) / 4)]),
  ),
);
