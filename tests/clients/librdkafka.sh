#!/usr/bin/env bash
# Runs librdkafka's own regression tests against a server, each in a process of its own, and writes one result per test as JSON.
#
#   librdkafka.sh --peer SCRIPT [OUT.json]   run, with three nodes started and stopped by a peer script; OUT defaults to
#                                            librdkafka.json in the folder of tools
#   librdkafka.sh BOOTSTRAP [OUT.json]       the same against a server that runs: topics are made by their first use, with
#                                            four partitions
#   librdkafka.sh --compare [RESULT.json]    tests that pass on Apache Kafka 4.4 (librdkafka-kafka-4.4.json) and not in RESULT;
#                                            exit code 1 when there is one
#   librdkafka.sh --install                  fetch and build the suite (gcc, g++, make and zlib's headers) without running it
#   librdkafka.sh --list                     tests that are left out, and why
#
# Environment: LIBRDKAFKA_TESTS (numbers to run, e.g. "0005 0081"; default all), LIBRDKAFKA_NODES (3, or 1), LIBRDKAFKA_TIMEOUT (900,
# seconds for a test), LIBRDKAFKA_FLAGS (-Q: fewer records), everything that the suite itself reads (TEST_DEBUG, SUBTESTS, ...).
# Its source comes with the npm package that has it as a dependency.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
CLIENTS_HOME=$(realpath -m "${CLIENTS_HOME:-$here/../../.tools/clients}")
PACKAGE=@confluentinc/kafka-javascript@1.10.1 # librdkafka 2.15.1
DIR=$CLIENTS_HOME/librdkafka
SUITE=$DIR/package/deps/librdkafka

die() { echo "librdkafka.sh: $*" >&2; exit 2; }

build() {
  local tool
  for tool in npm gcc g++ make java; do command -v "$tool" >/dev/null || die "$tool is needed"; done
  [ -e /usr/include/zlib.h ] || die "zlib's headers are needed (Debian: zlib1g-dev)"
  [ "$(cat "$DIR/stamp" 2>/dev/null)" = "$PACKAGE" ] && return
  echo "librdkafka.sh: fetching and building the suite (some minutes; the log is $CLIENTS_HOME/librdkafka-build.log)" >&2
  rm -rf "$DIR" && mkdir -p "$DIR"
  (cd "$DIR" && npm pack --loglevel=error "$PACKAGE" && tar xzf ./*.tgz && cd "$SUITE" &&
    ./configure --disable-ssl --disable-gssapi --disable-curl --disable-zstd && make -j"$(nproc)" libs && make -j"$(nproc)" -C tests build) \
    >"$CLIENTS_HOME/librdkafka-build.log" 2>&1 || { tail -20 "$CLIENTS_HOME/librdkafka-build.log" >&2; die "the build failed"; }
  echo "$PACKAGE" >"$DIR/stamp"
}

# The suite calls Kafka's scripts by their names in a distribution; ours run the same tools from their jars.
tools() {
  mkdir -p "$DIR/kafka/bin"
  local pair
  for pair in kafka-topics:org.apache.kafka.tools.TopicCommand kafka-configs:org.apache.kafka.tools.ConfigCommand; do
    printf '#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "%s/*" %s "$@"\n' "$CLIENTS_HOME/kafka-tools" "${pair#*:}" \
      >"$DIR/kafka/bin/${pair%:*}.sh"
    chmod +x "$DIR/kafka/bin/${pair%:*}.sh"
  done
}

run() { # bootstrap out
  local work=${2%.json}.run # of this run alone: two servers may be tried at a time
  mkdir -p "$work"
  printf 'bootstrap.servers=%s\ntest.topic.random=true\n' "$1" >"$work/test.conf"
  tools
  KAFKA_PATH=$DIR/kafka BROKERS=$1 RDKAFKA_TEST_CONF=$(realpath "$work/test.conf") python3 "$here/flights/regression.py" run "$SUITE/tests" "$work" "$2" \
    --timeout "${LIBRDKAFKA_TIMEOUT:-900}" --flags="${LIBRDKAFKA_FLAGS:-}" ${LIBRDKAFKA_TESTS:+--tests "$LIBRDKAFKA_TESTS"}
}

case ${1:-} in
  --compare) exec python3 "$here/flights/regression.py" compare "$here/librdkafka-kafka-4.4.json" "${2:-$CLIENTS_HOME/librdkafka.json}" ;;
  --list) exec python3 "$here/flights/regression.py" list ;;
  --install) "$here/install.sh" && build ;;
  --peer)
    [ -n "${2:-}" ] || die "--peer needs a script"
    "$here/install.sh"
    build
    peer=$2
    "$peer" wipe >/dev/null
    trap '"$peer" wipe >/dev/null' EXIT
    # What the suite wants of a cluster.
    export STERNPOST_EXTRA="${STERNPOST_EXTRA:-} --set auto.create.topics.enable=true --set num.partitions=4"
    export KAFKA_EXTRA="${KAFKA_EXTRA:-}
auto.create.topics.enable=true
num.partitions=4"
    bootstrap=$("$peer" "start${LIBRDKAFKA_NODES:-3}" | tail -1)
    run "$bootstrap" "${3:-$CLIENTS_HOME/librdkafka.json}"
    ;;
  '' | -*) sed -n '2,15p' "$0"; exit 2 ;;
  *)
    "$here/install.sh"
    build
    run "$1" "${2:-$CLIENTS_HOME/librdkafka.json}"
    ;;
esac
