#!/usr/bin/env python3
"""Elections and outages of a three-node cluster whose processors are oversubscribed, while its nodes are stalled on top.

  stress.py --peer bench/peers/sternpost.sh                      an hour: half of it leaders stall, half of it a follower
  stress.py --peer bench/peers/sternpost.sh --minutes 2          a look
  stress.py --peer bench/peers/sternpost.sh --busy 0             without busy loops of its own: other work keeps the cores busy

What is measured: bench/README.md. Elections are read from the nodes' own metrics, so the server must be Sternpost.
"""
import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import LOAD, Peer, build  # noqa: E402

NODES, PARTITIONS = 3, 12
STALL_MS = (20, 150)  # of a node that leads: it must not lose what it leads
LONG_STALL_S = (0.2, 20.0)  # of one that leads nothing
BETWEEN_S = (0.3, 2.0)  # from one stall to the next, less than the twelve seconds after which a node gets its shards back
SETTLE_S = 120  # longest wait until the cluster is whole
COUNTED = ("elections", "leader_changes")


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--peer", default=os.path.join(HERE, "peers", "sternpost.sh"), help="script of the server (bench/README.md)")
    a.add_argument("--http-ports", default=os.environ.get("STERNPOST_HTTP_PORTS", "19190 29190 30190"), help="where the nodes tell their metrics")
    a.add_argument("--minutes", type=float, default=60)
    a.add_argument("--busy", type=int, default=4 * (os.cpu_count() or 1), help="busy loops, default four for each core")
    a.add_argument("--rate", type=int, default=500, help="records a second over 12 partitions of three replicas")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--output", choices=("text", "json"), default="text")
    o = a.parse_args()
    o.http_ports = o.http_ports.split()
    if len(o.http_ports) != NODES:
        a.error(f"--http-ports wants {NODES} ports")
    if o.minutes <= 0 or o.busy < 0 or o.rate < 1:
        a.error("--minutes and --rate must be positive, --busy not negative")
    if not os.access(o.peer, os.X_OK):
        a.error(f"--peer {o.peer} is not a script that can be run")
    return o


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def counts(o):
    """What all nodes have counted so far, together."""
    texts = [ask(port, "/metrics") for port in o.http_ports]
    return {name: sum(int(re.search(rf"^sternpost_{name}_total (\d+)$", text, re.M)[1]) for text in texts) for name in COUNTED}


def wait_until_whole(o):
    deadline = time.monotonic() + SETTLE_S
    for port in o.http_ports:
        while True:
            try:
                ask(port, "/readyz/safe-to-stop")
                break
            except OSError as why:
                if time.monotonic() > deadline:
                    sys.exit(f"stress.py: the cluster is not whole within {SETTLE_S} s: {why}")
                time.sleep(0.2)


class Stalls:
    """SIGSTOP and SIGCONT, and how long they really took: this program is on the same cores."""

    def __init__(self):
        self.lengths = []

    def stall(self, pid, seconds):
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.lengths.append(time.monotonic() - began)

    def told(self):
        late = sum(length * 1000 > STALL_MS[1] + 10 for length in self.lengths)
        return {"stalls": len(self.lengths), "longest_stall_ms": round(1000 * max(self.lengths, default=0)), "longer_than_150_ms": late}


def leaders_stall(dice, pids, until):
    """Any node, most of which lead something, for as long as a leader may be away."""
    stalls = Stalls()
    while time.monotonic() < until:
        # A little less than wanted: what the cores take until this program runs again comes on top.
        stalls.stall(dice.choice(pids), (dice.uniform(*STALL_MS) - 5) / 1000)
        time.sleep(dice.uniform(*BETWEEN_S))
    return stalls.told()


def follower_stalls(dice, pid, until):
    """A node that leads nothing: it comes back for less time than it takes to get its shards again."""
    stalls = Stalls()
    while time.monotonic() < until:
        stalls.stall(pid, min(dice.uniform(*LONG_STALL_S), max(until - time.monotonic(), 0.2)))
        time.sleep(dice.uniform(*BETWEEN_S))
    return stalls.told()


def counted(o, what, run):
    """A phase: what it says, and what the nodes counted during it."""
    before, began = counts(o), time.monotonic()
    told = run()
    after = counts(o)
    return {"phase": what, "seconds": round(time.monotonic() - began), **told, **{name: after[name] - before[name] for name in COUNTED}}


def phases(o, pids):
    dice = random.Random(o.seed)
    half = o.minutes * 30
    yield counted(o, "every node stalls for at most 150 ms", lambda: leaders_stall(dice, pids, time.monotonic() + half))
    # Away for so long that it leads nothing any more; those elections are wanted.
    Stalls().stall(pids[-1], 3)
    time.sleep(BETWEEN_S[1])
    yield counted(o, "a node that leads nothing stalls for any length", lambda: follower_stalls(dice, pids[-1], time.monotonic() + half))


def measure(o):
    peer = Peer(o.peer, NODES, 0)
    peer.start()
    busy, producer = [], None
    try:
        wait_until_whole(o)
        seconds = o.minutes * 60 + 20
        argv = [LOAD, "failover", "-brokers", peer.boot, "-partitions", PARTITIONS, "-rf", NODES, "-rate", o.rate, "-size", 100,
                "-warmup", "5s", "-duration", f"{seconds}s", "-retry-backoff", "5ms", "-meta-min-age", "10ms", "-pids", ",".join(peer.pids())]
        producer = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True)
        time.sleep(5)
        wait_until_whole(o)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(o.busy)]
        try:
            os.nice(-15)  # stalls are to end when they should; what was started above keeps its place
        except OSError:
            print("stress.py: not allowed to go before the busy loops: stalls may take longer than wanted", file=sys.stderr)
        told = []
        for phase in phases(o, [int(pid) for pid in peer.pids()]):
            told.append(phase)
            print(json.dumps(phase), file=sys.stderr, flush=True)
        loadavg = os.getloadavg()[1]
        out, _ = producer.communicate(timeout=seconds + 400)
        return {"busy": o.busy, "load_average": round(loadavg, 1), "phases": told, "load": json.loads(out.strip().splitlines()[-1])}
    finally:
        for process in [*busy, *([producer] if producer else [])]:
            process.kill()
            process.wait()
        peer.sh("wipe")


def main():
    o = arguments()
    build()
    result = measure(o)
    back, load = result["load"]["readback"], result["load"]
    if o.output == "json":
        print(json.dumps(result))
    else:
        print(f"{result['busy']} busy loops, load average {result['load_average']}")
        for phase in result["phases"]:
            print(f"{phase['phase']}, {phase['seconds']} s: {phase['stalls']} stalls, the longest {phase['longest_stall_ms']} ms, "
                  f"{phase['elections']} elections, {phase['leader_changes']} leader changes seen")
        print(f"{load['acked']} of {load['sent']} records acknowledged, longest time without one of a partition {load['gap_before_fault']['max_ms']} ms; "
              f"read back: {back['acked_lost']} lost, {back['duplicates']} duplicates, {back['reordered']} reordered")
    bad = [name for name in ("acked_lost", "duplicates", "reordered") if back[name]]
    if any(phase["elections"] for phase in result["phases"]) or bad:
        sys.exit(f"stress.py: elections, or records {', '.join(bad) or 'all right'}")


if __name__ == "__main__":
    main()
