#!/usr/bin/env bash
# Runs the tests against a real Kubernetes, whose programs are built once into
# .cache. That takes minutes: with CLUSTER=cached only what is built already is
# used. What is left out is named in one line, and in the file $LEFT_OUT.
set -euo pipefail
cd "$(dirname "$0")"

left_out() { echo "left out: $*" | tee -a "${LEFT_OUT:-/dev/null}"; }

if [[ "${CLUSTER:-}" == cached ]] && ! ./build.sh --cached kube-apiserver >/dev/null; then
  left_out "the Kubernetes API server, which is not built (make test-cluster builds it in minutes)"
  exit
fi
./build.sh kube-apiserver >/dev/null
go vet ./...
go test -race -count=1 "$@" ./...
