#!/usr/bin/env bash
# Runs the tests in a real Kubernetes, whose programs are built once into
# .cache: against an API server alone anywhere, and on a node of its own where a
# Debian with root allows it. The builds take minutes: with CLUSTER=cached those
# of the node are used only where they are built already. What is left out is
# named in one line each, and in the file $LEFT_OUT.
set -euo pipefail
cd "$(dirname "$0")"
node=(kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy)

left_out() { echo "left out: $*" | tee -a "${LEFT_OUT:-/dev/null}"; }
have() { local c; for c in "$@"; do command -v "$c" >/dev/null || return 1; done; }

# built says whether the programs of a node are there, or builds them if it may:
# then a build that fails is a failure.
built() {
  if [[ "${CLUSTER:-}" == cached ]]; then
    ./build.sh --cached "$@" >/dev/null
  else
    ./build.sh "$@" >/dev/null || exit 1
  fi
}

# nothing_left fails where the node left a process, a mount or a control group.
nothing_left() {
  local name=${work##*/} left
  left="$(
    pgrep -f "$name" || true
    grep -F "$name" /proc/self/mounts || true
    find /sys/fs/cgroup -type d -name "$name"
  )"
  if [[ -n "$left" ]]; then
    printf 'run.sh: the node left\n%s\n' "$left" >&2
    return 1
  fi
}

# tools installs the programs of a node that are not there, without starting
# their services.
tools() {
  local policy=/usr/sbin/policy-rc.d ours="" status=0
  if have containerd ctr runc conntrack nft iptables ip && [[ -x /usr/lib/cni/ptp ]]; then return; fi
  if [[ ! -e "$policy" ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  fi
  {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      containerd runc containernetworking-plugins conntrack nftables iptables iproute2
  } >"$work/apt.log" 2>&1 || status=$?
  if [[ -n "$ours" ]]; then rm -f "$policy"; fi
  return "$status"
}

# obstacle says why there can be no node, or nothing.
obstacle() {
  if [[ "$(id -u)" != 0 || ! -e /etc/debian_version ]]; then
    echo "it needs a Debian with root"
  elif [[ ! -d /sys/fs/cgroup/cpuset || ! -d /sys/fs/cgroup/memory ]]; then
    echo "it is made for cgroup version 1"
  elif ! built "${node[@]}"; then
    echo "its programs are not built, which make test-cluster does in minutes"
  elif ! tools; then
    echo "its packages could not be installed: $(tail -n 1 "$work/apt.log")"
  fi
}

# on_a_node runs the tests that need Pods, or says why it cannot.
on_a_node() {
  local why
  why="$(obstacle)"
  if [[ -n "$why" ]]; then
    left_out "the chart on a Kubernetes node ($why)"
    return
  fi
  # The node's network leads nowhere: everything is built before.
  (cd ../kubernetes && go build -ldflags='-s -w' -o "$work/helm" helm.sh/helm/v4/cmd/helm)
  (cd ../.. && CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags grpcnotrace -o "$work/bearergate" .)
  CGO_ENABLED=0 go build -o "$work/pause" ./pause
  go test -race -c -o "$work/cluster.test" .
  ENVOY="$(../tools/envoy.sh)"
  export ENVOY NODE="$work"
  ./node.sh "$work" "$work/cluster.test" -test.v -test.timeout 15m -test.run '^TestChartOnANode$'
  nothing_left
}

status=0
./build.sh kube-apiserver >/dev/null || status=$?
if [[ "$status" == 77 ]]; then
  left_out "the Kubernetes API server and a node (a module cannot be had)"
  exit
fi
[[ "$status" == 0 ]] || exit "$status"
go vet ./...
go test -race -count=1 "$@" .

work="$(mktemp -d "${TMPDIR:-/tmp}/bearergate-node-XXXXXX")"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
on_a_node
