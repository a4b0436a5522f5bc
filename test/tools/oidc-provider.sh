#!/usr/bin/env bash
# Prints the folder in which the npm package oidc-provider is installed; what
# oidc-provider/package-lock.json pins is fetched into .cache when that changes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$here/../../.cache/oidc-provider"
cache="$(cd "$here/../../.cache/oidc-provider" && pwd)"

if ! cmp -s "$here/oidc-provider/package-lock.json" "$cache/package-lock.json" || [[ ! -f "$cache/node_modules/.package-lock.json" ]]; then
  command -v npm >/dev/null || { echo "missing: node 20 and npm, to run oidc-provider" >&2; exit 1; }
  cp "$here/oidc-provider"/{package.json,package-lock.json,.npmrc} "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2) ||
    { rm -rf "$cache"; echo "missing: oidc-provider could not be fetched from npm as its lock file says" >&2; exit 1; }
fi
echo "$cache"
