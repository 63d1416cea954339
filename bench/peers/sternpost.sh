#!/usr/bin/env bash
# Sternpost as a peer for side-by-side measurements and for outside suites; the same verbs as kafka.sh.
#
#   sternpost.sh install             build the release binary
#   sternpost.sh start1 | start3     fresh storage, 1 or 3 nodes; returns when they answer and are ready, bootstrap addresses on the last line
#   sternpost.sh up N                start node N again on its existing storage (after a kill); returns when it answers
#   sternpost.sh kill N              kill -9 node N          sternpost.sh pause N / cont N   SIGSTOP / SIGCONT
#   sternpost.sh term N              SIGTERM to node N: it hands over what it leads and ends
#   sternpost.sh stop                stop all nodes started by this script (SIGTERM, then SIGKILL)
#   sternpost.sh wipe                stop and delete data
#   sternpost.sh pids | rss | size   "nodeN PID"; RSS per node (KiB); size of the binary
#   sternpost.sh bootstrap [N]       the addresses of N nodes       sternpost.sh log N   the path of node N's log
#   sternpost.sh peer-ports          the ports at which three nodes reach each other
#
# Environment (defaults in parentheses):
#   PEERS_HOME (~/.cache/peers)      where data and logs go           STERNPOST_DATA ($PEERS_HOME/sternpost/data)
#   STERNPOST_BIN (target/release/sternpost, built when it is missing; `install` always asks cargo)
#   STERNPOST_EXTRA                  more flags, e.g. "--set log.segment.bytes=1048576"
#   STERNPOST_PORTS ("19192 29192 30192")   STERNPOST_HTTP_PORTS ("19190 29190 30190")   STERNPOST_PEER_PORTS ("19191 29191 30191")
#   STERNPOST_PEER_WAYS              ports of relays between three nodes instead: from 1 to 2, 1 to 3, 2 to 1, 2 to 3, 3 to 1, 3 to 2
#   FLUSH                            without meaning here: every ack is fsynced
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
PEERS_HOME=${PEERS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/peers}
S=$PEERS_HOME/sternpost
DATA=${STERNPOST_DATA:-$S/data}
RUN=$S/run
BIN=${STERNPOST_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/sternpost}
STOP_S=30
# The server reads STERNPOST_* from its environment as settings and refuses names it does not know; these are ours.
export -n STERNPOST_BIN STERNPOST_EXTRA STERNPOST_DATA STERNPOST_PORTS STERNPOST_HTTP_PORTS STERNPOST_PEER_PORTS STERNPOST_PEER_WAYS
# All below the ports that a system gives to outgoing connections, one of which would stand in a node's way.
read -r -a PORTS <<<"${STERNPOST_PORTS:-19192 29192 30192}"
read -r -a HTTP_PORTS <<<"${STERNPOST_HTTP_PORTS:-19190 29190 30190}"
read -r -a PEER_PORTS <<<"${STERNPOST_PEER_PORTS:-19191 29191 30191}"
read -r -a WAYS <<<"${STERNPOST_PEER_WAYS:-}"
WAYS_CLUSTER=d2F5cy5vZi5hLmNsdXN0ZQ # its id: the nodes' lists differ, and would give each another one

die() { echo "sternpost.sh: $*" >&2; exit 1; }

install_() {
  [ -n "${STERNPOST_BIN:-}" ] || cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p sternpost >&2 || die "the build failed"
  [ -x "$BIN" ] || die "there is no program at $BIN"
}
size_() { [ -x "$BIN" ] || install_; echo "{\"peer\":\"sternpost\",\"binary_mb\":$(($(stat -c %s "$BIN") / 1048576))}"; }

running() { # node: does a thread of the process in its pid file live (a zombie leader alone does not)
  local p tasks; p=$(cat "$RUN/node$1.pid" 2>/dev/null) && [ -n "$p" ] || return 1
  tasks=(/proc/"$p"/task/*)
  [ "${#tasks[@]}" -gt 1 ] || { [ -r "/proc/$p/stat" ] && ! grep -q ') [ZX] ' "/proc/$p/stat" 2>/dev/null; }
}
kill_() { # node: gone when this returns, so that its port is free
  local p; p=$(nodepid "$1") || exit 1
  kill -9 "$p" 2>/dev/null || die "node $1 does not run"
  while running "$1"; do sleep 0.005; done
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
wait_port() { # node seconds
  local deadline=$((SECONDS + $2))
  until answers "${PORTS[$1-1]}"; do
    running "$1" || { tail -5 "$RUN/node$1.log" >&2; die "node $1 ended before it answered; its log is $RUN/node$1.log"; }
    ((SECONDS <= deadline)) || die "node $1 did not open its port; its log is $RUN/node$1.log"
    sleep 0.01
  done
}

ready() { # node: the cluster answers through it
  local answer
  exec 3<>"/dev/tcp/127.0.0.1/${HTTP_PORTS[$1-1]}" || return 1
  printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && read -r answer <&3
  exec 3>&-
  [[ $answer == *" 200 "* ]]
}
wait_ready() { # node seconds
  local deadline=$((SECONDS + $2))
  until ready "$1" 2>/dev/null; do
    running "$1" || { tail -5 "$RUN/node$1.log" >&2; die "node $1 ended before it was ready; its log is $RUN/node$1.log"; }
    ((SECONDS <= deadline)) || die "node $1 is not ready; its log is $RUN/node$1.log"
    sleep 0.01
  done
}
cluster() { # node: its settings in a cluster, when start3 made one
  local count s="" j port at; count=$(cat "$RUN/nodes" 2>/dev/null || echo 1)
  ((count > 1)) || return 0
  for ((j = 0; j < count; j++)); do
    port=${PEER_PORTS[j]} at=$((j + 1))
    if [ "${#WAYS[@]}" != 0 ] && [ "$at" != "$1" ]; then port=${WAYS[2 * ($1 - 1) + j - (at > $1)]}; fi
    s+="${s:+,}$at@127.0.0.1:$port"
  done
  echo "--set node.id=$1 --set controller.quorum.voters=$s"
  [ "${#WAYS[@]}" = 0 ] || echo "--set sternpost.cluster.id=$WAYS_CLUSTER"
}

defaults() { # what STERNPOST_EXTRA does not set itself
  local pair
  for pair in num.partitions=1 group.initial.rebalance.delay.ms=0 auto.create.topics.enable=false; do
    case "${STERNPOST_EXTRA:-}" in *"--set ${pair%%=*}="*) ;; *) echo "--set $pair" ;; esac
  done
}

up() { # node
  local i=$1
  [ -x "$BIN" ] || install_
  mkdir -p "$DATA/node$i" "$RUN"
  answers "${PORTS[i-1]}" && die "port ${PORTS[i-1]} is taken"
  # shellcheck disable=SC2046,SC2086
  setsid nohup "$BIN" serve --data-dir "$DATA/node$i" --listen "127.0.0.1:${PORTS[i-1]}" --http "127.0.0.1:${HTTP_PORTS[i-1]}" \
    $(defaults) $(cluster "$i") ${STERNPOST_EXTRA:-} >>"$RUN/node$i.log" 2>&1 </dev/null &
  echo $! >"$RUN/node$i.pid.new" && mv "$RUN/node$i.pid.new" "$RUN/node$i.pid" # at once: others read it meanwhile
}

start() { # node count
  local i
  [ -x "$BIN" ] || install_
  wipe_ >/dev/null
  mkdir -p "$RUN"
  echo "$1" >"$RUN/nodes"
  date +%s.%N >"$RUN/started_at"
  for ((i = 1; i <= $1; i++)); do up "$i"; done
  for ((i = 1; i <= $1; i++)); do wait_port "$i" 60; done
  # A node of one is ready when it answers.
  if (($1 > 1)); then for ((i = 1; i <= $1; i++)); do wait_ready "$i" 60; done; fi
  bootstrap "$1"
}
bootstrap() { local s="" i; for ((i = 0; i < $1; i++)); do s+="${s:+,}127.0.0.1:${PORTS[i]}"; done; echo "$s"; }

nodes() { local f; for f in "$RUN"/node*.pid; do [ -f "$f" ] && basename "$f" .pid | tr -d a-z; done; true; }
nodepid() { cat "$RUN/node$1.pid" 2>/dev/null || die "node $1 was not started by this script"; }
pids_() { local i; for i in $(nodes); do if running "$i"; then echo "node$i $(nodepid "$i")"; fi; done; }
rss_() { pids_ | while read -r n p; do echo "$n $(awk '/VmRSS/{print $2}' "/proc/$p/status")"; done; }
stop_() {
  local i deadline=$((SECONDS + STOP_S))
  for i in $(nodes); do running "$i" && kill "$(nodepid "$i")" 2>/dev/null; done
  while [ -n "$(pids_)" ] && ((SECONDS < deadline)); do sleep 0.02; done
  for i in $(nodes); do
    running "$i" && { echo "sternpost.sh: node $i did not stop within $STOP_S s; killed" >&2; kill -9 "$(nodepid "$i")"; }
  done
  echo stopped
}
wipe_() { stop_; rm -rf "$DATA" "$RUN"; }

ulimit -n "${NOFILE:-100000}" 2>/dev/null || ulimit -n "$(ulimit -Hn)"
cmd=${1:-}; shift || true
case $cmd in
  install) install_; size_ ;;
  start1) start 1 ;;
  start3) start 3 ;;
  up) up "$1"; wait_port "$1" 60 ;;
  kill) kill_ "$1" ;;
  term) p=$(nodepid "$1") && kill -TERM "$p" ;;
  pause) p=$(nodepid "$1") && kill -STOP "$p" ;;
  cont) p=$(nodepid "$1") && kill -CONT "$p" ;;
  stop) stop_ ;;
  wipe) wipe_ ;;
  pids) pids_ ;;
  rss) rss_ ;;
  size) size_ ;;
  peer-ports) printf '%s\n' "${PEER_PORTS[@]}" ;;
  bootstrap) bootstrap "${1:-1}" ;;
  log) echo "$RUN/node$1.log" ;;
  *) sed -n '2,21p' "$0"; exit 2 ;;
esac
