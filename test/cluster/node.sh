#!/usr/bin/env bash
# Runs a command as on a machine of its own: its network, mounts and processes
# are in namespaces that end with it, so that a kubelet, a container runtime and
# firewall rules leave nothing behind. $1 is an empty directory for all of it.
#
#	node.sh DIRECTORY COMMAND...
set -euo pipefail
work="$1"
shift

if [[ -z "${INSIDE:-}" ]]; then
  unshared=
  # shellcheck disable=SC2317 # called by the trap
  stop() {
    # Its first process dies with it, and with that one every other.
    if [[ -n "$unshared" ]]; then kill -KILL "$unshared" 2>/dev/null || true; fi
    for _ in {1..50}; do
      find /sys/fs/cgroup -depth -type d -path "*/${work##*/}*" -exec rmdir {} + 2>/dev/null || true
      compgen -G "/sys/fs/cgroup/*/${work##*/}" >/dev/null || break
      sleep 0.1
    done
  }
  trap stop EXIT
  trap 'exit 130' INT TERM
  for controller in /sys/fs/cgroup/*/; do mkdir -p "$controller/${work##*/}"; done
  for file in cpus mems; do # a new one of version 1 has none, and nothing may run in it
    cat "/sys/fs/cgroup/cpuset/cpuset.$file" >"/sys/fs/cgroup/cpuset/${work##*/}/cpuset.$file"
  done
  INSIDE=yes unshare --net --mount --pid --fork --mount-proc --kill-child "$0" "$work" "$@" &
  unshared=$!
  wait "$unshared"
  exit
fi

# What programs write at fixed places.
mkdir -p "$work"/{lib,lib-work,sysctl}
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t overlay -o "lowerdir=/var/lib,upperdir=$work/lib,workdir=$work/lib-work" overlay /var/lib
# Kubelet sets these, for the whole machine.
for setting in vm/overcommit_memory kernel/panic kernel/panic_on_oops; do
  cat "/proc/sys/$setting" >"$work/sysctl/${setting##*/}"
  mount --bind "$work/sysctl/${setting##*/}" "/proc/sys/$setting"
done

# The node's address. Everything else is routed to nowhere.
ip link set lo up
ip link add node type veth peer name nowhere
ip address add 10.244.0.1/32 dev node
ip link set node up
ip link set nowhere up
ip route add default dev node
echo 1 >/proc/sys/net/ipv4/ip_forward
echo "nameserver 10.244.0.1" >"$work/resolv.conf"
mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"

exec "$@"
