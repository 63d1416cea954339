"""The measurements. Each is one load on one peer; with two peers they alternate A-B-A-B within each measurement.

Servers of tput, sync, e2e and consume stay up side by side (the idle one costs next to nothing, which foreign_cpu_s
shows); start, many and failover run each server alone on fresh storage.
"""
import json
import os
import subprocess
import threading
import time

from peer import LOAD, PEERS, load, seconds, wait_until_quiet

SETS = ("disk", "start", "tput", "sync", "e2e", "consume", "many", "failover")
SETTLE_S = 3
RESTART_S_MAX = 120  # a server that acknowledges nothing so long after a kill has not come back, as far as a table goes


def run(o, peers, out):
    common = {"rf": 3 if o.nodes >= 3 else 1, "config": o.topic_config}
    if "start" in o.sets:
        start(o, peers, out, common)
    if {"disk", "tput", "sync", "e2e", "consume"} & set(o.sets):
        steady(o, peers, out, common)
    if "many" in o.sets:
        for pair in range(o.pairs):
            for peer in peers:
                for partitions in o.part_counts:
                    many(o, peer, pair, partitions, out, common)
    if "failover" in o.sets:
        for partitions in o.part_counts:
            for pair in range(o.pairs):
                for who in o.fo_who.split(","):
                    for peer in peers:
                        failover(o, peer, pair, partitions, who, out, common)


def start(o, peers, out, common):
    """From the start of the process to the first acknowledged record, on fresh storage; then the idle memory."""
    for pair in range(o.pairs):
        for peer in peers:
            peer.sh("wipe")
            wait_until_quiet(o.quiet)
            boot = peer.sh("bootstrap", peer.nodes).strip().splitlines()[-1]
            argv = [LOAD, "firstack", "-brokers", boot, "-since", peer.started_at(), f"-rf={common['rf']}", "-label", "start to first ack"]
            found = {}

            def first_ack(argv=argv, found=found):
                found.update(json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout))

            probe = threading.Thread(target=first_ack)
            probe.start()
            peer.start()
            probe.join()
            time.sleep(SETTLE_S)
            out.add(peer, pair, {**found, "idle_memory_mib": peer.memory()})
            peer.sh("wipe")


def steady(o, peers, out, common):
    for peer in peers:
        peer.sh("wipe")
    for peer, warm in zip(peers, o.warms):
        peer.start()
        if seconds(warm) > 0:
            load(peer, "produce", "warm", topic="warm", partitions=16, duration=warm, warmup="1s", **common)
            load(peer, "delete", "delete", topic="warm")
    number = 0
    for label, command, flags, then in list(steady_points(o)):
        for pair in range(o.pairs):
            number += 1
            topic = f"b{number}"
            for peer in peers:
                out.add(peer, pair, load(peer, command, label, o.quiet, topic=topic, **flags, **common))
                if then:
                    then_label, then_flags = then
                    out.add(peer, pair, load(peer, "consume", then_label, o.quiet, topic=topic, **then_flags, **common))
                if command != "disk":
                    load(peer, "delete", "delete", topic=topic)
    for peer in peers:
        out.add(peer, 0, {"label": "memory after load", "loaded_memory_mib": peer.memory()})


def steady_points(o):
    """(label, command, flags, consume afterwards or None) of the sets that were asked for."""
    if "disk" in o.sets:
        for size, name in ((4096, "4 KiB"), (1 << 20, "1 MiB")):
            yield f"disk append {name} + fdatasync", "disk", {"size": size, "dir": PEERS, "duration": "4s"}, None
    for duration in o.durations:
        times = {"duration": duration, "warmup": o.warmup}
        first = duration == o.durations[0]
        if "tput" in o.sets or "consume" in o.sets:
            for size, partitions in [(1024, p) for p in o.part_counts] + [(100, 16)]:
                row = f"{size}B p{partitions}"
                flags = {"partitions": partitions, "size": size}
                reads = "consume" in o.sets and first and partitions in (1, 16)
                if "tput" in o.sets or reads:
                    yield f"produce {row} {duration}", "produce", {**flags, **times}, (f"consume {row}", flags) if reads else None
    times = {"duration": o.durations[0], "warmup": o.warmup}
    if "sync" in o.sets:
        for workers in (1, 16, 64):
            yield (f"one at a time, {workers} workers", "produce",
                   {"partitions": 16, "size": 1024, "sync": workers, "clients": min(workers, 16), **times}, None)
    if "e2e" in o.sets:
        for rate in (1000, 5000):
            yield f"end to end {rate}/s", "e2e", {"partitions": 16, "size": 1024, "rate": rate, **times}, None


def many(o, peer, pair, partitions, out, common):
    """Many partitions over topics of at most 1,000 each: create, restart, produce over all of them."""
    peer.sh("wipe")
    peer.start()
    time.sleep(SETTLE_S)
    topics = max(1, partitions // 1000)
    shape = {"topic": "many", "topics": topics, "partitions": partitions // topics}
    times = {"duration": o.durations[0], "warmup": o.warmup}
    out.add(peer, pair, load(peer, "topic", f"{partitions} partitions: create", o.quiet, **shape, **common))
    out.add(peer, pair, {"label": f"{partitions} partitions: idle", "idle_memory_mib": peer.memory()})
    for spread in ("rr", "sticky"):
        out.add(peer, pair, load(peer, "produce", f"{partitions} partitions: produce {spread}", o.quiet, spread=spread, **shape, **times, **common))
    out.add(peer, pair, {"label": f"{partitions} partitions: loaded", "loaded_memory_mib": peer.memory()})
    if peer.nodes == 1:
        peer.sh("kill", 1)
        began = time.time()
        with open(os.path.join(PEERS, "restarted_at"), "w", encoding="ascii") as f:
            f.write(f"{began:.6f}")
        label = f"{partitions} partitions: restart to first ack"
        peer.up(1, RESTART_S_MAX)
        found = load(peer, "firstack", label, since=os.path.join(PEERS, "restarted_at"), wait=f"{RESTART_S_MAX}s",
                     topic="after-restart", rf=common["rf"])
        if "first_ack_ms" not in found:
            found["not_reached"] = {"first_ack": RESTART_S_MAX}
        out.add(peer, pair, found)
    peer.sh("wipe")


def failover(o, peer, pair, partitions, who, out, common):
    """A steady rate to every partition while one node is killed and started again; everything is read back."""
    peer.sh("wipe")
    peer.start()
    time.sleep(SETTLE_S)
    topics = max(1, partitions // 1000)
    asked = subprocess.run([LOAD, "quorum", "-brokers", peer.boot], stdout=subprocess.PIPE, text=True).stdout
    leader = json.loads(asked)["leader"] if asked.strip() else 1
    victim = leader if who == "controller" else leader % peer.nodes + 1
    flags = {"topic": "fo", "topics": topics, "partitions": partitions // topics, "rate": o.rate, "size": 256, "victim": victim,
             "exec": f"'{peer.script}' kill {victim}", "at": "6s", "exec2": f"'{peer.script}' up {victim}", "at2": o.fo_up,
             "duration": o.fo_end, "warmup": o.fo_warmup}
    out.add(peer, pair, load(peer, "failover", f"failover {partitions} {who}", o.quiet, **flags, **common))
    peer.sh("wipe")
