# For the start scripts: sourced with the port as $1. serve runs a command until
# it answers, prints the description on stdin, and waits for the end.
port="${1:?the port to listen on}"
here="$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"
origin="http://127.0.0.1:$port"
redirect=https://app.example.com/callback

# Exit status 77: the server cannot be had here, which says nothing about it.
fail() {
  echo "missing: $*" >&2
  echo "left out: the authorization server ${here##*/} (missing: $*)" >>"${LEFT_OUT:-/dev/null}"
  exit 77
}
need() { for tool; do command -v "$tool" >/dev/null || fail "$tool"; done; }

# once FOLDER COMMAND…: runs the command unless it succeeded before.
once() {
  local folder="$1"
  shift
  [[ -f "$folder/.done" ]] && return
  mkdir -p "$folder"
  "$@" >&2 || fail "$(basename "$folder") could not be fetched and built"
  touch "$folder/.done"
}

# serve URL COMMAND… <DESCRIPTION
serve() {
  local url="$1" pid
  shift
  exec 3<&0
  "$@" >&2 </dev/null &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; wait "$pid"; exit 0' TERM INT
  until curl --silent --fail --output /dev/null "$url"; do
    kill -0 "$pid" 2>/dev/null || { echo "the server ended before it answered" >&2; exit 1; }
    sleep 0.3
  done
  prepare
  tr -d '\n' <&3
  echo
  exec >&- # whoever reads the description sees its end
  wait "$pid"
}

# prepare is what a script does with the server before it is ready to be used.
prepare() { :; }
