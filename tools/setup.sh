#!/usr/bin/env bash
# Installs what Weir's build, tests and demo need and the machine lacks, and nothing it already has.
# Safe to run again: every step looks first.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi; }

debian() { # program package...
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || die "'$1' is missing: install it with your package manager (Debian calls the package '$2')"
  wanted+=("${@:2}")
}

wanted=()
debian gcc gcc
debian ffmpeg ffmpeg
debian curl curl
debian chromium chromium
debian promtool prometheus # and the server itself: the history is filled from a real one
debian ip iproute2
if [ "${1:-}" = players ]; then # for `make soak`
  debian mpv mpv
  debian cvlc vlc-bin vlc-plugin-base
  debian gst-launch-1.0 gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad} gstreamer1.0-libav
fi
if [ ${#wanted[@]} -gt 0 ]; then
  say "installing ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "${wanted[@]}"; } >/dev/null \
    || die "could not install ${wanted[*]}: install them by hand and run this again"
fi
command -v cargo >/dev/null || die "'cargo' is missing: install Rust with rustup"
command -v npm >/dev/null || die "'npm' is missing: install Node.js 20 or newer"

# The web packages; the country database comes with them, pinned by the same lock file.
if [ ! -f web/node_modules/.weir ] || [ web/package-lock.json -nt web/node_modules/.weir ]; then
  say "fetching web packages"
  (cd web && npm ci --no-audit --no-fund --loglevel=error) && touch web/node_modules/.weir
fi
if [ ! -f web/dist/index.html ] || [ -n "$(find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -newer web/dist/index.html -print -quit)" ]; then
  say "building the console"
  (cd web && npm run --silent build)
fi

mkdir -p var
country=web/node_modules/@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb
[ -f var/country.mmdb ] && [ ! "$country" -nt var/country.mmdb ] || cp "$country" var/country.mmdb
[ -f var/clip.mp4 ] && [ ! tools/clip.sh -nt var/clip.mp4 ] || { say "making the test clip"; tools/clip.sh var/clip.mp4; }
[ -f var/rung.mp4 ] && [ ! var/clip.mp4 -nt var/rung.mp4 ] || { say "making its smaller rung"; tools/rung.sh var/clip.mp4 var/rung.mp4; }
