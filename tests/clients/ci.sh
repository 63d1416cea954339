#!/usr/bin/env bash
# Stock clients against the release binary, at the size that the test command has time for: the judge against doctored
# histories, the flights in five clients, the same while the server is killed and while its power is cut, on three nodes that
# are killed, paused and cut off from each other, Kafka's console tools, and franz-go's suite compared with what Apache Kafka
# passes. CONTRIBUTING.md has the long forms.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PEERS_HOME=${PEERS_HOME:-$(mktemp -d)}
run=tests/clients/run.py
python3 $run --selftest
python3 $run --server-kind sternpost --limit 40000
python3 $run --server-kind sternpost --limit 40000 --clients confluent,java,franz,kafkajs --kill-every 1.0 --min-kills 20
# kcat has its rows acknowledged so fast that at a lower rate most kills find nothing outstanding and do not count.
python3 $run --server-kind sternpost --limit 300000 --clients kcat --kill-every 1.0 --min-kills 20
STERNPOST_EXTRA=--disk-shim python3 $run --server-kind sternpost --limit 20000 --clients confluent,franz --kill-every 1.0 --min-kills 8
python3 $run --server-kind sternpost --nodes 3 --limit 40000 --clients confluent,franz --kill-every 1.0 --min-kills 10
python3 tests/clients/tools.py --peer bench/peers/sternpost.sh
tests/clients/franz.sh --peer bench/peers/sternpost.sh
tests/clients/franz.sh --compare
