#!/usr/bin/env bash
# Runs every fuzz target of the module on so many inputs, given as 5000x. A time
# would do too, but go test now and then reports its end as a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."
grep -rlE '^func Fuzz' --include='*_test.go' . --exclude-dir=.cache --exclude-dir=test | sort | while read -r file; do
  sed -nE 's/^func (Fuzz[A-Za-z0-9]*)\(.*/\1/p' "$file" | while read -r target; do
    echo "fuzz $(dirname "$file") $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$(dirname "$file")" >.cache/fuzz.log 2>&1 </dev/null || { cat .cache/fuzz.log; exit 1; }
  done
done
