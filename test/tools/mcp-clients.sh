#!/usr/bin/env bash
# Prints the folder in which an MCP SDK is installed: the node_modules of
# `typescript`, the virtual environment of `python`. What the files of
# mcp-clients/ pin is fetched into .cache when they change. Exit status 77: it
# cannot be had here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
language="${1:?typescript or python}"
cache="$(cd "$here/../.." && pwd)/.cache/mcp-$language"

missing() {
  rm -rf "$cache"
  echo "missing: $*" >&2
  echo "left out: an MCP client (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}

typescript() {
  command -v npm >/dev/null || missing "node 20 and npm, to run the MCP SDK for TypeScript"
  cp "$here/mcp-clients"/{package.json,package-lock.json,.npmrc} "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2) || missing "the MCP SDK for TypeScript, from npm"
}
python() {
  python3 -m venv "$cache" || missing "python3 with venv, to run the MCP SDK for Python"
  "$cache/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement "$here/mcp-clients/requirements.txt" >&2 || missing "the MCP SDK for Python, from PyPI"
}

declare -A pins=([typescript]=package-lock.json [python]=requirements.txt)
pin="$here/mcp-clients/${pins[$language]}"
if ! cmp -s "$pin" "$cache/.pin"; then
  rm -rf "$cache"
  mkdir -p "$cache"
  "$language"
  cp "$pin" "$cache/.pin"
fi
echo "$cache"
