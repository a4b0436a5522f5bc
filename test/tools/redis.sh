#!/usr/bin/env bash
# Prints the path of a real redis-server: $REDIS, the one on PATH, or that of Debian's
# package, which is installed at the first call, without its service. redis-cli comes
# with it. Exit status 77: it cannot be had here.
set -euo pipefail

skip() {
  echo "missing: $*" >&2
  echo "left out: the shared store on a real Redis (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}

if [[ -n "${REDIS:-}" ]]; then
  [[ -x "$REDIS" ]] || { echo "missing: \$REDIS is $REDIS, which cannot be run" >&2; exit 1; }
  echo "$REDIS"
  exit
fi
if command -v redis-server; then exit; fi
if ! command -v apt-get >/dev/null || [[ "$(id -u)" != 0 ]]; then
  skip "redis-server, or a Debian and root to install it (or set REDIS to a binary)"
fi
# policy-rc.d's 101 keeps packages from starting their services.
policy=/usr/sbin/policy-rc.d
if [[ ! -e "$policy" ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
fi
install() { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends redis-server >&2; }
install || { apt-get update --quiet >&2 && install; } || skip "Debian's package redis-server"
command -v redis-server
