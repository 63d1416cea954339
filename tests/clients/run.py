#!/usr/bin/env python3
"""The flights job: the flights of 2013 through stock Kafka clients, judged by offset, also while the server is killed.

  run.py --server 'target/release/sternpost serve --data-dir {data} --listen 127.0.0.1:19092' --bootstrap 127.0.0.1:19092
  run.py --peer bench/peers/kafka.sh --limit 40000
  run.py --peer bench/peers/sternpost.sh --kill-every 1.0 --min-kills 20
  run.py --peer bench/peers/sternpost.sh --nodes 3 --kill-every 2.0 --min-kills 20
  run.py --selftest                        the judge against doctored histories

`{data}` in --server stands for a fresh directory. Exit code: 0 no anomaly, 1 anomalies, 2 wrong use.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from flights.cluster import FAULTS, Cluster
from flights.drivers import DRIVERS, HOME
from flights.job import Job
from flights.rows import FLIGHTS
from flights.selftest import selftest
from flights.server import Command, Peer

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH_PEERS = os.path.join(HERE, "..", "..", "bench", "peers")
COLUMNS = (
    ("client", "client"), ("rows", "rows"), ("rows_per_s", "rows/s"), ("produce_s", "produce s"), ("drain_s", "drain s"),
    ("dump_s", "read s"), ("total_s", "total s"), ("read_again", "re-read"), ("kills", "kills"), ("kills_idle", "idle"),
    ("kills_early", "early"), ("restart_ms_max", "restart ms"), ("gap_ms_max", "no ack ms"),
)
CLUSTER_COLUMNS = (
    ("kill", "killed"), ("kill_ms_max", "no ack ms"), ("pause", "paused"), ("pause_ms_max", "no ack ms"), ("cut", "cut off"),
    ("cut_ms_max", "no ack ms"), ("two", "two away"), ("back_ms_max", "back ms"),
)


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--server", help="command that starts the server in the foreground")
    a.add_argument("--bootstrap", help="address of the server that --server starts, HOST:PORT")
    a.add_argument("--peer", help="peer script (bench/peers/*.sh) that starts the server, instead of --server")
    a.add_argument("--server-kind", choices=("sternpost", "kafka"), help="short for --peer bench/peers/KIND.sh")
    a.add_argument("--clients", default=",".join(DRIVERS), help=f"default: {','.join(DRIVERS)}")
    a.add_argument("--limit", type=int, default=FLIGHTS, help="the first so many flights (default: all)")
    a.add_argument("--kill-every", type=float, help="kill -9 the server so many seconds after the last kill")
    a.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="3: a cluster, whose nodes meet --faults one at a time, now and then two")
    a.add_argument("--faults", default=",".join(FAULTS), help=f"of a node among three (default: {','.join(FAULTS)}); cut needs a peer script with peer-ports")
    a.add_argument("--min-kills", type=int, default=20, help="kills that must hit outstanding rows, per client")
    a.add_argument("--output", choices=("table", "json"), default="table")
    a.add_argument("--keep", action="store_true", help="keep the work folder also when there is no anomaly")
    a.add_argument("--selftest", action="store_true")
    o = a.parse_args()
    o.clients = [c for c in o.clients.split(",") if c]
    if unknown := [c for c in o.clients if c not in DRIVERS]:
        a.error(f"unknown clients: {','.join(unknown)}; known: {','.join(DRIVERS)}")
    o.faults = [f for f in o.faults.split(",") if f]
    if not o.faults or (unknown := [f for f in o.faults if f not in FAULTS]):
        a.error(f"--faults are some of {','.join(FAULTS)}")
    if not o.selftest:
        if o.server and not o.bootstrap:
            a.error("--server needs --bootstrap")
        if not o.server and not o.peer:
            if not o.server_kind:
                a.error("one of --server, --peer, --server-kind is needed")
            o.peer = os.path.join(BENCH_PEERS, f"{o.server_kind}.sh")
        if o.nodes > 1 and not o.peer:
            a.error("--nodes 3 needs --peer or --server-kind")
        if not 1 <= o.limit <= FLIGHTS:
            a.error(f"--limit must be 1 to {FLIGHTS}")
    return o


def line(result, columns):
    cells = [f"{str(result[key]) if result.get(key) is not None else '-':>{max(9, len(title))}}" for key, title in columns]
    verdict = "ok" if not result["anomalies"] else " ".join(f"{k}:{n}" for k, n in result["anomalies"].items())
    return "  ".join(cells) + "  " + verdict


def longest(results):
    """How long a client could not write, at worst."""
    gap, client = max((r["gap_ms_max"], r["client"]) for r in results)
    back, other = max((r["back_ms_max"], r["client"]) for r in results)
    return (f"longest time that a client could not write to a partition: {gap} ms while a majority was there ({client}), "
            f"{back} ms after the return of a majority ({other})")


def main():
    o = arguments()
    if o.selftest:
        sys.exit(0 if selftest() else 1)
    subprocess.run([os.path.join(HERE, "install.sh")], check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that server and drivers are ended too
    work = tempfile.mkdtemp(prefix="flights.")
    server = Cluster(o.peer, work, o.faults) if o.nodes == 3 else Peer(o.peer, work) if o.peer else Command(o.server, o.bootstrap, work)
    columns = COLUMNS + CLUSTER_COLUMNS if o.nodes == 3 else COLUMNS
    kill = (o.kill_every, o.min_kills) if o.kill_every else None
    results = []
    try:
        server.start()
        if o.output == "table":
            print("  ".join(f"{title:>{max(9, len(title))}}" for _, title in columns) + "  verdict", flush=True)
        for client in o.clients:
            result = Job(client, server, os.path.join(HOME, "flights.rows"), o.limit, work, kill).run()
            results.append(result)
            if o.output == "table":
                print(line(result, columns), flush=True)
                for example in result.get("examples", []):
                    print(f"    {example}", flush=True)
            server.heal()
    finally:
        server.stop()
    if o.output == "table" and o.nodes == 3 and (judged := [r for r in results if "gap_ms_max" in r]):
        print(longest(judged))
    bad = any(r["anomalies"] for r in results)
    if o.output == "json":
        print(json.dumps(results, indent=1))
    if bad or o.keep:
        print(f"the work folder is kept: {work}", file=sys.stderr)
    else:
        shutil.rmtree(work)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
