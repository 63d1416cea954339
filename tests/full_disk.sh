#!/usr/bin/env bash
# A real node on a real disk without a byte left: what is deleted gives its space back, and a start works all the same.
#
#   tests/full_disk.sh           as root (it mounts an ext4 image of 900 MB on a loop device); needs python3, curl, mkfs.ext4
#
# Three topics fill the disk until records are refused. Then, one after the other: kill -9 and a start with 0 bytes free,
# the deletion of a topic, filling up again, retention of a topic. After each, space and writing must come back without a
# restart, and nothing acknowledged may be gone. Prints a line for each step; the exit code is 0 when all held.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
BIN=${STERNPOST_BIN:-${CARGO_TARGET_DIR:-$here/target}/release/sternpost}
export -n STERNPOST_BIN
KAFKA=127.0.0.1:17492 HTTP=127.0.0.1:17490
IMAGE_MB=900
work=$(mktemp -d)
data=$work/disk/data
pid=

die() { echo "full_disk.sh: $*" >&2; [ -f "$work/log" ] && tail -5 "$work/log" >&2; exit 1; }
clean() {
  [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  mountpoint -q "$work/disk" && umount "$work/disk"
  rm -rf "$work"
}
trap clean EXIT

ready() { curl -s --max-time 5 "http://$HTTP/readyz"; }
is_full() { ready | grep -q 'the disk is full'; }
free_kb() { df --output=avail -k "$work/disk" | tail -1 | tr -d ' '; }
wait_for() { # seconds, what, command...
  local deadline=$((SECONDS + $1)) what=$2; shift 2
  until "$@"; do ((SECONDS <= deadline)) || die "$what did not happen in time: $(ready)"; sleep 0.1; done
}
not_full() { ready | grep -q '^ready' && ! is_full; }
start() {
  "$BIN" serve -q --data-dir "$data" --listen $KAFKA --http $HTTP \
    --set log.retention.check.interval.ms=1000 --set log.segment.bytes=16777216 >>"$work/log" 2>&1 &
  pid=$!
  wait_for 60 "a start" node_is_ready
}
node_is_ready() { kill -0 "$pid" 2>/dev/null || die "the node ended"; ready | grep -q '^ready'; }
crash() { kill -9 "$pid"; wait "$pid" 2>/dev/null; pid=; }
produce() { # topic seconds
  timeout $(($2 + 20)) "$BIN" bench produce -b $KAFKA -t "$1" -p 2 -s 4096 -d "$2"s --warmup 0s --api-timeout-ms 3000 >/dev/null 2>&1
}
fill() { for topic in "$@"; do is_full || produce "$topic" 6; done; wait_for 30 "a full disk" is_full; }
writes() { printf 'after\n' | timeout 60 "$BIN" produce -b $KAFKA --topic "$1" >/dev/null 2>&1; }
ends() { # topics: the end offset of each partition
  local topic found
  for topic in "$@"; do
    found=$("$BIN" topic describe -b $KAFKA --topic "$topic" --output json |
      python3 -c 'import json, sys; print(*[p["end_offset"] for t in json.load(sys.stdin) for p in t["partitions"]])')
    [ "$(wc -w <<<"$found")" = 2 ] || die "topic $topic was to have two partitions: $found"
    echo "$topic $found"
  done
}
step() { echo "$1: $(free_kb) KB free, segments $(du -sm "$data/segments" | cut -f1) MB, log $(du -sm "$data/wal" | cut -f1) MB"; }

[ "$(id -u)" = 0 ] || die "it must be run as root: it mounts an image"
[ -x "$BIN" ] || die "there is no program at $BIN; cargo build --release -p sternpost makes it"
mkdir "$work/disk"
truncate -s ${IMAGE_MB}M "$work/image"
mkfs.ext4 -q -m 0 -F "$work/image" && mount -o loop "$work/image" "$work/disk" || die "no image could be mounted"

start
for topic in a b c; do "$BIN" topic create -b $KAFKA --topic $topic --partitions 2 >/dev/null || die "create $topic"; done
produce a 1
fill b c b c
step "filled until records were refused"
before=$(ends a b c) || exit 1

crash
dd if=/dev/zero of="$work/disk/stuff" bs=4k 2>/dev/null
dd if=/dev/zero of="$work/disk/rest" bs=1 count=5000 2>/dev/null
[ "$(free_kb)" = 0 ] || die "the disk was to be full"
start
step "killed and started again with no byte free"
[ "$(ends a b c)" = "$before" ] || die "the topics ended at" $before "and now at" $(ends a b c)
[ "$("$BIN" consume -b $KAFKA --topic b --from-beginning --max-messages 1 2>/dev/null | wc -c)" = 4097 ] || die "nothing to read"
is_full || die "records are not refused"

"$BIN" topic delete -b $KAFKA --topic a --yes >/dev/null 2>&1 || die "delete a"
wait_for 20 "space behind a deletion" not_full
writes b || die "no record is taken behind a deletion"
step "a topic deleted"

fill c b c
step "filled again"
"$BIN" topic alter -b $KAFKA --topic b --config retention.bytes=1000000 >/dev/null 2>&1 || die "alter b"
wait_for 20 "space behind retention" not_full
writes c || die "no record is taken behind retention"
step "retention of a topic"

before=$(ends b c) || exit 1
crash
start
[ "$(ends b c)" = "$before" ] || die "the topics ended at" $before "and now at" $(ends b c)
echo "ends:" $before
echo "held: reads, deletions, a start without a byte, writing again without a restart; nothing acknowledged gone"
