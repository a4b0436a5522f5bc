#!/usr/bin/env bash
# Asks Istio what it makes of our files. Its modules are many, and the first
# build takes some minutes. Where they cannot be fetched that is said in one
# line, and in the file $LEFT_OUT.
set -euo pipefail
cd "$(dirname "$0")"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

left_out() { echo "left out: $*" | tee -a "${LEFT_OUT:-/dev/null}"; }

# Fetches what the tests import, and builds nothing yet.
if ! go list -deps -test . >/dev/null 2>"$log"; then
  if grep -qE '403 Forbidden|404 Not Found|dial tcp|no such host|i/o timeout|TLS handshake|module lookup disabled' "$log"; then
    left_out "Istio's translation (its modules could not be fetched: $(grep -oE '403 Forbidden|404 Not Found|dial tcp.*|no such host|i/o timeout|TLS handshake.*|module lookup disabled.*' "$log" | head -n 1))"
    exit
  fi
  cat "$log" >&2
  exit 1
fi
go vet .
go test -count=1 "$@" .
