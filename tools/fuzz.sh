#!/usr/bin/env bash
# Runs every fuzz target for the given seconds each; a crash stops with its input's path.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
for target in $(cargo +nightly fuzz list); do
  echo "fuzz: $target for $1 s"
  mkdir -p "corpus/$target"
  cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- -max_total_time="$1" -rss_limit_mb=2048
done
