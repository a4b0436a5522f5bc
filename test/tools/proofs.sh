#!/usr/bin/env bash
# Prints the folder in which the npm packages are installed that make DPoP proofs; what
# proofs/package-lock.json pins is fetched into .cache when that changes. Exit status
# 77: they cannot be had here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="$(cd "$here/../.." && pwd)/.cache/proofs"

missing() {
  rm -rf "$cache"
  echo "missing: $*" >&2
  echo "left out: DPoP proofs of others (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}

if ! cmp -s "$here/proofs/package-lock.json" "$cache/.pin"; then
  command -v npm >/dev/null || missing "node 20 and npm, to make DPoP proofs"
  rm -rf "$cache"
  mkdir -p "$cache"
  cp "$here/proofs"/{package.json,package-lock.json,.npmrc} "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2) || missing "dpop and oauth4webapi, from npm"
  cp "$here/proofs/package-lock.json" "$cache/.pin"
fi
echo "$cache"
