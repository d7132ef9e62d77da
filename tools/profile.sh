#!/bin/bash
# Draws where an edge's time goes: docs/edge-flame.svg, from `perf` while benches/fanout.rs runs one cell.
# Needs perf (linux-tools) and inferno, which it installs below target/ when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=${CARGO_TARGET_DIR:-target}
TOOLS=$TARGET/tools
DATA=$(mktemp -d)
trap 'rm -rf "$DATA"' EXIT

command -v perf > /dev/null || { echo "install perf first (Debian: apt-get install linux-perf)" >&2; exit 1; }
[ -x "$TOOLS/bin/inferno-flamegraph" ] ||
    cargo install --quiet --locked --version 0.12.8 --root "$TOOLS" inferno

# The figures of this run are not the benchmark's: stacks are copied as they are sampled.
export WEIR_BENCH_PERF="$DATA/perf.data"
cargo bench --locked --bench fanout -- profile
perf script --no-inline -i "$WEIR_BENCH_PERF" 2> /dev/null |
    "$TOOLS/bin/inferno-collapse-perf" > "$DATA/folded"
"$TOOLS/bin/inferno-flamegraph" --title "weir edge" --minwidth 0.3 --hash \
    < "$DATA/folded" > docs/edge-flame.svg
echo "the functions with the most time of their own:"
awk '{ n = $NF; $NF = ""; k = split($0, frame, ";"); self[frame[k]] += n; all += n }
     END { for (f in self) printf "%5.1f %%  %s\n", 100 * self[f] / all, f }' "$DATA/folded" |
    sort -rn | head -30
