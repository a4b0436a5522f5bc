#!/usr/bin/env bash
# Prints the folder that has a real prometheus and promtool: $PROMETHEUS, the one
# on PATH, or that of Debian's package, which is unpacked into .cache at the first
# call. It is never installed: the package would start a service, and needs root.
# apt holds the package to its archive's signature. Exit status 77: it cannot be
# had here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="$here/../../.cache/prometheus"

skip() {
  echo "missing: $*" >&2
  echo "left out: dashboard and alerts in a real Prometheus (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}
works() { [[ -x "$1/prometheus" && -x "$1/promtool" ]] && "$1/promtool" --version >/dev/null 2>&1; }

if [[ -n "${PROMETHEUS:-}" ]]; then
  works "$PROMETHEUS" || { echo "missing: \$PROMETHEUS is $PROMETHEUS, which has no prometheus and promtool" >&2; exit 1; }
  echo "$PROMETHEUS"
  exit
fi
if found="$(command -v prometheus)" && works "$(dirname "$found")"; then
  dirname "$found"
  exit
fi
if ! works "$cache/usr/bin"; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    skip "a Debian to take Prometheus from (or set PROMETHEUS to the folder of prometheus and promtool)"
  fi
  work="$(mktemp -d "${TMPDIR:-/tmp}/bearergate-prometheus-XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  download() { (cd "$work" && apt-get download --quiet prometheus) >&2; }
  download || { apt-get update --quiet >&2 && download; } || skip "Debian's package prometheus"
  dpkg-deb --extract "$work"/prometheus_*.deb "$work/unpacked"
  works "$work/unpacked/usr/bin" || skip "a Prometheus that runs on this machine"
  rm -rf "$cache"
  mkdir -p "$(dirname "$cache")"
  mv "$work/unpacked" "$cache"
fi
realpath "$cache/usr/bin"
