#!/usr/bin/env python3
"""Measures a Kafka-protocol server, alone or beside another one in alternation, and prints values and ratios.

  run.py --peer peers/sternpost.sh                                       one server, every measurement twice
  run.py --peer peers/sternpost.sh --vs peers/kafka.sh                   A-B-A-B on this machine, ratios A / B
  run.py --peer peers/sternpost.sh --vs peers/kafka.sh --flush-vs 1      against a B that fsyncs before its ack
  run.py ... --set start,tput,sync,e2e,consume,disk --pairs 5 --duration 8s,60s --warm 60s
  run.py ... --set many --parts 10000 | --set failover --nodes 3 --parts 12

A peer is a script with the verbs of README.md. Every measurement becomes one JSON line of --out; summary.py makes the
table. Before each measurement the driver waits until the machine is quiet; what others used meanwhile is foreign_cpu_s.
"""
import argparse
import json
import os
import sys

import points
import summary
from peer import PEERS, Peer, build, seconds

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--peer", required=True, help="script of the server to measure (A)")
    a.add_argument("--vs", help="script of a second server (B), measured in alternation")
    a.add_argument("--flush", type=int, default=0, help="FLUSH for A: 1 asks for fsync before the ack")
    a.add_argument("--flush-vs", type=int, default=0, help="FLUSH for B")
    a.add_argument("--nodes", type=int, default=1)
    a.add_argument("--set", default="start,tput,sync,e2e,consume", help=f"measurements, of {','.join(points.SETS)}")
    a.add_argument("--parts", default="1,16,256", help="partition counts of tput, many and failover")
    a.add_argument("--pairs", "--reps", type=int, default=2, help="repetitions of each measurement (pairs A-B)")
    a.add_argument("--duration", default="8s", help="measured time; several (8s,60s) give a row each for tput")
    a.add_argument("--warmup", default="4s", help="before each measured time, with the same load")
    a.add_argument("--warm", default="12s", help="load on each server before the first measurement; a JVM wants 60s. A,B: of each peer")
    a.add_argument("--quiet", type=float, default=60, help="longest wait for a quiet machine, seconds; 0: do not wait")
    a.add_argument("--topic-config", default="file.delete.delay.ms=1000")
    a.add_argument("--rate", type=float, default=1000, help="failover: records per second")
    a.add_argument("--fo-up", default="22s", help="failover: when the killed node is started again (the kill is at 6s)")
    a.add_argument("--fo-end", default="30s", help="failover: how long to produce")
    a.add_argument("--fo-warmup", default="6s")
    a.add_argument("--fo-who", default="plain,controller", help="failover: kill a node that is (not) the metadata leader")
    a.add_argument("--out", default=os.path.join(PEERS, "results.jsonl"))
    o = a.parse_args()
    o.sets = o.set.split(",")
    if unknown := [s for s in o.sets if s not in points.SETS]:
        a.error(f"unknown sets: {','.join(unknown)}; known: {','.join(points.SETS)}")
    o.part_counts = [int(x) for x in o.parts.split(",")]
    o.durations = o.duration.split(",")
    o.warms = (o.warm.split(",") * 2)[:2]
    for text in [*o.durations, o.warmup, *o.warms]:
        seconds(text)
    return o


class Out:
    """Appends results to the file, shows them, and keeps those of this run for the ratios."""

    def __init__(self, path):
        self.path, self.results = path, []
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)

    def add(self, peer, pair, result):
        result = {"peer": peer.name, "flush": peer.flush, "nodes": peer.nodes, "pair": pair, **result}
        self.results.append(result)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(result) + "\n")
        print(f"{result['peer']:12} {pair} {result.get('label', ''):34} {summary.one_line(result)}", flush=True)


def main():
    o = arguments()
    build()
    peers = [Peer(o.peer, o.nodes, o.flush)]
    if o.vs:
        peers.append(Peer(o.vs, o.nodes, o.flush_vs))
        if peers[0].name == peers[1].name:  # they would share ports and folders
            sys.exit("run.py: --peer and --vs are the same script")
    out = Out(o.out)
    try:
        points.run(o, peers, out)
    finally:
        for p in peers:
            p.sh("wipe")
    print()
    print(summary.table(out.results))


if __name__ == "__main__":
    main()
