#!/usr/bin/env bash
# The simulation's part of the test command: swarms of every world, the rows of the fault matrix, one seed run twice, every mutant found.
# SIM_SEEDS (default 10000) is the number of seeds of the one-node world, SIM_CLUSTER_SEEDS (default 1000) of three nodes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/release/sternpost
cargo build --release --locked -p sternpost
"$bin" sim --world one --seeds "${SIM_SEEDS:-10000}"
"$bin" sim --nodes 3 --seeds "${SIM_CLUSTER_SEEDS:-1000}"
"$bin" sim --nodes 5 --seeds 50
"$bin" sim --fault all --seeds 2
# Rows must notice what their faults are about.
"$bin" sim --fault 21 --mutant AckBeforeCommit >/dev/null
"$bin" sim --fault 21 --mutant CommitWithoutQuorum >/dev/null
"$bin" sim --fault 29 --mutant NoPreVote >/dev/null
"$bin" sim --world storage --seeds 5000
"$bin" sim --world quorum --seeds 400
"$bin" sim --world one --seeds 1 --seed 42 | tail -1
"$bin" sim --nodes 3 --seeds 1 --seed 42 | tail -1
for world in one storage quorum; do
  "$bin" sim --mutant all --world "$world"
done
# Only several nodes can show these; the others of world three are found in the worlds above.
for mutant in EmptyTakesPart ReplacedGoesOn ManifestMissesRange ApplyReadsClock LevelOfMajority MendSkipsLacking DamageForgotten MendTrustsBlocks; do
  "$bin" sim --mutant "$mutant" --nodes 3
done
