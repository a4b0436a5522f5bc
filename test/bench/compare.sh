#!/usr/bin/env bash
# Runs the benchmarks of each stage on another commit and on the working tree,
# in turn, and has benchstat compare them. The commit is checked out in .cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
ref="${1:-}"
[[ -n "$ref" ]] || { echo "usage: $0 REF, such as the tag of the last release" >&2; exit 2; }
commit="$(git rev-parse --verify --quiet "$ref^{commit}")" || { echo "no such commit: $ref" >&2; exit 2; }

benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
packages=(./internal/service ./validation ./authz ./envoy)
count="${COUNT:-6}" # benchstat says nothing about fewer
out="$PWD/.cache/bench"
tree="$out/$commit"
mkdir -p "$out"
[[ -d "$tree" ]] || git worktree add --quiet --force --detach "$tree" "$commit"
trap 'git worktree remove --force "$tree"' EXIT

measure() { # of what, where
  (cd "$2" && go test -run '^$' -bench "${BENCH:-.}" -benchmem -benchtime "${BENCHTIME:-0.3s}" "${packages[@]}") >>"$out/$1.txt"
}

: >"$out/old.txt"
: >"$out/new.txt"
for ((i = 0; i < count; i++)); do
  measure old "$tree"
  measure new "$PWD"
done
go run "$benchstat" "$ref=$out/old.txt" "now=$out/new.txt"
