#!/usr/bin/env bash
# Prints the folder in which the npm package oidc-provider is installed; the
# pinned version is fetched into .cache at the first call.
set -euo pipefail
version=9.13.3
root="$(cd "$(dirname "$0")/../.." && pwd)"
cache="$root/.cache/oidc-provider-$version"

if [[ ! -f "$cache/node_modules/oidc-provider/package.json" ]]; then
  command -v npm >/dev/null || { echo "missing: node 20 and npm, to run oidc-provider $version" >&2; exit 1; }
  mkdir -p "$cache"
  npm install --prefix "$cache" --no-save --no-audit --no-fund --silent "oidc-provider@$version" >&2 ||
    { rm -rf "$cache"; echo "missing: oidc-provider $version could not be fetched from npm" >&2; exit 1; }
fi
echo "$cache"
