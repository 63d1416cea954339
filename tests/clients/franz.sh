#!/usr/bin/env bash
# Runs franz-go's own test suite (its package kgo) against a server and writes one result per test as JSON.
#
#   franz.sh BOOTSTRAP [OUT.json]            run; OUT defaults to franz.json in the folder of tools
#   franz.sh --peer SCRIPT [OUT.json]        the same, with the server started and stopped by a peer script; with FRANZ_NODES=3
#                                            three nodes, and topics of three replicas
#   franz.sh --compare [RESULT.json]         tests that pass on Apache Kafka 4.4 (franz-kafka-4.4.json) and not in RESULT;
#                                            exit code 1 when there is one
#   franz.sh --list                          the patterns that are left out
#
# Environment: KGO_TEST_RECORDS (50000; the suite's own default of 500000 wants more than two cores), FRANZ_RUN (a
# -test.run pattern), FRANZ_TIMEOUT (20m), everything else that the suite reads (KGO_LOG_LEVEL, ...;
# KGO_TEST_CHAOS=1 lets its own connections break at random).
# The suite creates and deletes its own topics; it needs no auto-creation and, with KGO_TEST_RF=1, one node.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
CLIENTS_HOME=$(realpath -m "${CLIENTS_HOME:-$here/../../.tools/clients}")
[ ! -x "$CLIENTS_HOME/go/bin/go" ] || PATH="$CLIENTS_HOME/go/bin:$PATH" # where the system's own Go is too old

# What the suite has for capabilities that a server without transactions, share groups and security does not offer.
EXCLUDED=(
  '^TestTxnEtl$'                           # transactions: exactly-once chains of transactional consumers and producers
  '^TestShareGroup'                        # share groups (KIP-932) against a broker: ETL, acknowledge on close, offsets
  '^TestConsumeRegexShareSkipsInternal$'   # share groups: subscription by pattern
  '^TestSCRAMAuth'                         # security: SASL/SCRAM, needs a second listener
)

die() { echo "franz.sh: $*" >&2; exit 2; }

run() { # bootstrap out
  local skip package
  "$here/install.sh"
  skip=$(IFS='|'; echo "${EXCLUDED[*]}")
  package=$(cd "$here/franz" && go list -f '{{.Dir}}' github.com/twmb/franz-go/pkg/kgo)
  out=$(realpath -m "$2")
  # One test reads the package's own source files, so the suite runs where they are. A failed test is in the result,
  # not in the exit code: which failures matter is what --compare says.
  (cd "$package" && KGO_SEEDS=$1 KGO_TEST_RF=${KGO_TEST_RF:-1} KGO_TEST_RECORDS=${KGO_TEST_RECORDS:-50000} KGO_LOG_LEVEL=${KGO_LOG_LEVEL:-none} \
    go tool test2json -t "$CLIENTS_HOME/bin/kgo.test" -test.v=test2json -test.timeout "${FRANZ_TIMEOUT:-20m}" \
    -test.run "${FRANZ_RUN:-.}" -test.skip "$skip" 2>"$CLIENTS_HOME/franz.err") >"$CLIENTS_HOME/franz.log" || true
  python3 "$here/flights/suite.py" collect "$CLIENTS_HOME/franz.log" "$out" "${KGO_TEST_RECORDS:-50000}" "${EXCLUDED[@]}"
}

case ${1:-} in
  --compare) exec python3 "$here/flights/suite.py" compare "$here/franz-kafka-4.4.json" "${2:-$CLIENTS_HOME/franz.json}" ;;
  --list) printf '%s\n' "${EXCLUDED[@]}" ;;
  --peer)
    [ -n "${2:-}" ] || die "--peer needs a script"
    peer=$2
    "$peer" wipe >/dev/null
    trap '"$peer" wipe >/dev/null' EXIT
    case ${FRANZ_NODES:-1} in
      1) bootstrap=$("$peer" start1 | tail -1) ;;
      3) bootstrap=$("$peer" start3 | tail -1) && KGO_TEST_RF=${KGO_TEST_RF:-3} ;;
      *) die "FRANZ_NODES is 1 or 3" ;;
    esac
    run "$bootstrap" "${3:-$CLIENTS_HOME/franz.json}"
    ;;
  '' | -*) sed -n '2,14p' "$0"; exit 2 ;;
  *) run "$1" "${2:-$CLIENTS_HOME/franz.json}" ;;
esac
