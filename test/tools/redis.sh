#!/usr/bin/env bash
# Prints the path of a real redis-server: $REDIS, the one on PATH, or that of Debian's
# package, which is installed at the first call. redis-cli comes with it.
set -euo pipefail

if [[ -n "${REDIS:-}" ]]; then
  [[ -x "$REDIS" ]] || { echo "missing: \$REDIS is $REDIS, which cannot be run" >&2; exit 1; }
  echo "$REDIS"
  exit
fi
if command -v redis-server; then exit; fi
if ! command -v apt-get >/dev/null; then
  echo "missing: redis-server (or set REDIS to a binary)" >&2
  exit 1
fi
# The package would start a service: policy-rc.d's 101 forbids that, where there is none yet.
policy=/usr/sbin/policy-rc.d
if [[ ! -e "$policy" ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends redis-server >&2; }
install || { apt-get update --quiet >&2 && install; } || { echo "missing: Debian's package redis-server" >&2; exit 1; }
command -v redis-server
