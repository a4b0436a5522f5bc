#!/usr/bin/env bash
# Runs golangci-lint over every module, shellcheck over every script, and
# govulncheck over what is shipped. The first and the last are built once, as
# lint/go.mod pins them. What this machine cannot run is named in one line, and
# in the file $LEFT_OUT.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache="$PWD/.cache/lint"
status=0

left_out() { echo "left out: $*" | tee -a "${LEFT_OUT:-/dev/null}"; }

if ! cmp -s test/tools/lint/go.sum "$cache/go.sum"; then
  echo "lint.sh: building golangci-lint and govulncheck" >&2
  mkdir -p "$cache"
  (cd test/tools/lint && go build -o "$cache/" tool)
  cp test/tools/lint/go.sum "$cache/go.sum"
fi

export GOLANGCI_LINT_CACHE="$cache/cache"
for module in . envoy/module test test/compose test/kubernetes test/cluster; do
  echo "golangci-lint $module"
  (cd "$module" && "$cache/golangci-lint" run) || status=1
done

# The modules of test/istio are many, and may be refused.
if (cd test/istio && go list -deps -test . >/dev/null 2>&1); then
  echo "golangci-lint test/istio"
  (cd test/istio && "$cache/golangci-lint" run --timeout 30m) || status=1
else
  left_out "golangci-lint test/istio, whose modules could not be fetched"
fi

if command -v shellcheck >/dev/null; then
  echo "shellcheck"
  shellcheck .ci/run test/tools/*.sh test/istio/*.sh test/cluster/*.sh test/bench/*.sh || status=1
else
  left_out "shellcheck, which is not installed"
fi

echo "govulncheck ."
if ! "$cache/govulncheck" ./... >"$cache/govulncheck.log" 2>&1; then
  if grep -q '^govulncheck: fetching vulnerabilities' "$cache/govulncheck.log"; then
    left_out "govulncheck, whose database cannot be reached"
  else
    cat "$cache/govulncheck.log"
    status=1
  fi
fi
exit "$status"
