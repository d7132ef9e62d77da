#!/usr/bin/env bash
# Licences, advisories and second versions (cargo-deny), and dependencies nobody uses (cargo-machete).
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in cargo-deny cargo-machete; do
  command -v "$tool" >/dev/null || cargo install --locked "$tool"
done
# The advisory database is a git repository: where it cannot be reached that part is skipped, and said.
cargo deny --locked check bans licenses sources
cargo deny --locked check advisories || echo "audit: advisories could not be checked (no access to the advisory database?)" >&2
cargo machete
