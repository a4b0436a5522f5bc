#!/usr/bin/env bash
# Prints the folder in which axe-core and puppeteer-core are installed, and below it the
# path of Chromium. What the files of browser/ pin is fetched into .cache when they
# change; Chromium is the system's ($CHROMIUM, or on PATH: apt-get install chromium).
# Exit status 77: it cannot be had here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="$(cd "$here/../.." && pwd)/.cache/browser"

missing() {
  rm -rf "$cache"
  echo "missing: $*" >&2
  echo "left out: the status page in a browser (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}

chromium="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}"
[ -n "$chromium" ] || missing "Chromium (apt-get install chromium)"
command -v npm >/dev/null || missing "node 20 and npm, to drive Chromium"
if ! cmp -s "$here/browser/package-lock.json" "$cache/.pin"; then
  rm -rf "$cache"
  mkdir -p "$cache"
  cp "$here/browser"/{package.json,package-lock.json,.npmrc} "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2) || missing "puppeteer-core and axe-core, from npm"
  cp "$here/browser/package-lock.json" "$cache/.pin"
fi
echo "$cache"
echo "$chromium"
