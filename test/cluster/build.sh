#!/usr/bin/env bash
# Builds the Kubernetes programs named as arguments, and etcd, out of Go modules
# into .cache, each once, and prints the directory. The versions and the hashes
# are those of kubernetes/go.mod and go.sum. With --cached first it builds
# nothing, and fails where one is missing. Exit status 77: a module cannot be had.
set -euo pipefail
cached=
if [[ "${1:-}" == --cached ]]; then cached=yes; shift; fi
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/kubernetes"
version="$(go list -m -f '{{.Version}}' k8s.io/kubernetes)" || exit 77
etcd="$(go list -m -f '{{.Version}}' go.etcd.io/etcd/server/v3)" || exit 77
cache="$here/../../.cache/kubernetes-$version-etcd-$etcd"
mkdir -p "$cache"
export CGO_ENABLED=0

# The API server tells its own version from these, and kubelet compares them.
v=k8s.io/component-base/version
minor="${version#v1.}"
ldflags="-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean"

# build_one FILE PACKAGE builds one program. A build that ends half way leaves no file.
build_one() {
  [[ -x "$cache/$1" ]] && return
  [[ -z "$cached" ]] || exit 1
  go list -deps "$2" >/dev/null || exit 77
  echo "build.sh: building $1" >&2
  # Without inlining and debug information a compiler has a third less to do.
  nice go build -trimpath -gcflags 'all=-l -dwarf=false' -ldflags "$ldflags" -o "$cache/$1.part" "$2" >&2
  mv "$cache/$1.part" "$cache/$1"
  echo "build.sh: built $1 ($SECONDS s)" >&2
}

build_one etcd go.etcd.io/etcd/server/v3
for program in "$@"; do build_one "$program" "k8s.io/kubernetes/cmd/$program"; done
realpath "$cache"
