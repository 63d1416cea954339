#!/usr/bin/env python3
"""The outage that stock clients notice when nodes of a three-node cluster are killed with kill -9, again and again.

  run.py --peer bench/peers/sternpost.sh                             both clients, 300 kills each
  run.py --peer bench/peers/sternpost.sh --clients java --kills 20   a look
  run.py --peer bench/peers/kafka.sh --kills 20 --away 15            Apache Kafka, which needs some 10 s to notice

What is measured: bench/README.md. The client programs (StockClient.java, stock_librdkafka.py) know two verbs:

  produce --bootstrap B --topic T --partitions N --interval-ms X --size BYTES --out FILE [--set name=value]...
      a record to each partition every X ms until standard input ends; a line of FILE for each (>iiqqq: partition, 0 or 1 for
      an error, number, when it was sent and when the verdict came in nanoseconds of the monotonic clock)
  read --bootstrap B --topic T --partitions N --out FILE
      everything up to the present end (>iiq: partition, 0, number)
"""
import argparse
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(ROOT, "tests", "clients")]
import outage  # noqa: E402
from flights.drivers import PYTHON, tool  # noqa: E402
from peer import PEERS, Peer  # noqa: E402
from selftest import selftest  # noqa: E402

TOPIC, PARTITIONS, REPLICAS = "stock", 12, 3
SIZE = 100  # bytes of a record
SHORTEST_QUIET_S = 2.0
QUIET_S = 6.0  # a node that is killed every 12 s is one that librdkafka waits ever longer for: its reconnect.backoff is not reset by a connection
SYNC_S = 120  # longest wait until all replicas are in sync
START_S = 60  # longest wait for the client's first acknowledgements: a JVM compiles its program first
DRAIN_S = 330  # longest wait for the client's last verdicts: librdkafka gives a record up after 300 s
CLIENTS = ("java", "librdkafka")


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--peer", default=os.path.join(ROOT, "bench", "peers", "sternpost.sh"), help="script of the server (bench/README.md)")
    a.add_argument("--clients", default=",".join(CLIENTS), help=f"of {','.join(CLIENTS)}")
    a.add_argument("--kills", type=int, default=300)
    a.add_argument("--away", type=float, default=1.5, help="seconds from the kill until the node is started again")
    a.add_argument("--quiet", type=float, default=QUIET_S, help=f"seconds from back in sync to the next kill, at least {SHORTEST_QUIET_S}")
    a.add_argument("--warmup", type=float, default=10, help="seconds of load before the first kill; a JVM wants some")
    a.add_argument("--interval-ms", type=float, default=5, help="between two records to a partition")
    a.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the client: then it is no longer stock")
    a.add_argument("--debug", action="store_true", help="the clients log what they wait for; the log slows them down")
    a.add_argument("--output", choices=("table", "json"), default="table")
    a.add_argument("--selftest", action="store_true", help="the figures of histories with known outages, no server")
    a.add_argument("--work", default=os.path.join(PEERS, "stock"), help="where records and logs of the clients go")
    o = a.parse_args()
    o.clients = o.clients.split(",")
    if unknown := [c for c in o.clients if c not in CLIENTS]:
        a.error(f"unknown clients: {','.join(unknown)}; known: {','.join(CLIENTS)}")
    if o.kills < 1:
        a.error("--kills must be at least 1")
    if o.quiet < SHORTEST_QUIET_S:
        a.error(f"--quiet must be at least {SHORTEST_QUIET_S}: a kill that meets the last one's consequences measures both")
    if o.away <= 0 or o.interval_ms <= 0 or o.warmup < 1:
        a.error("--away and --interval-ms must be positive, --warmup at least 1")
    if bad := [pair for pair in o.set if "=" not in pair]:
        a.error(f"--set takes NAME=VALUE, not {bad[0]!r}")
    if not os.access(o.peer, os.X_OK):
        a.error(f"--peer {o.peer} is not a script that can be run")
    return o


def command(client, verb, debug, settings=(), **options):
    """The client's command line. Java's source is compiled as it is started: nothing to build, nothing that may be old."""
    if client == "java":
        level = "debug" if debug and verb == "produce" else "warn"
        log = "-Dorg.slf4j.simpleLogger."
        quiet = f"{log}log.org.apache.kafka.clients.producer.internals.RecordAccumulator=warn"  # several lines a record
        argv = ["java", "-Xmx512m", f"{log}defaultLogLevel={level}", f"{log}showDateTime=true", f"{log}dateTimeFormat=HH:mm:ss.SSS",
                quiet, "-cp", tool("kafka-clients", "*"), os.path.join(HERE, "StockClient.java")]
    else:
        argv = [PYTHON, os.path.join(HERE, "stock_librdkafka.py")]
        if debug and verb == "produce":
            settings = [*settings, "debug=broker,topic,msg,metadata"]
    argv.append(verb)
    for name, value in options.items():
        argv += [f"--{name.replace('_', '-')}", str(value)]
    for pair in settings:
        argv += ["--set", pair]
    return argv


class Topic:
    """The topic as any node tells of it."""

    def __init__(self, bootstrap):
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})  # the nodes it misses are those we killed

    def create(self):
        new = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=REPLICAS)
        for future in self.admin.create_topics([new], operation_timeout=30).values():
            future.result(60)

    def partitions(self):
        """{partition: (leader, is every replica in sync)}, empty while no node answers."""
        try:
            told = self.admin.list_topics(TOPIC, timeout=5).topics[TOPIC].partitions
        except KafkaException:
            return {}
        return {number: (p.leader, len(p.isrs) == REPLICAS) for number, p in told.items()}

    def wait_until_synced(self):
        """The leaders, when every partition has one and all replicas in sync."""
        deadline = time.monotonic() + SYNC_S
        while True:
            told = self.partitions()
            if len(told) == PARTITIONS and all(leader >= 0 and synced for leader, synced in told.values()):
                return {number: leader for number, (leader, _) in told.items()}
            if time.monotonic() > deadline:
                raise SystemExit(f"not all replicas are in sync within {SYNC_S} s: {told or 'no node answers'}")
            time.sleep(0.05)


class Victims:
    """Whose turn it is: the node that leads most; of several the one that was killed longest ago."""

    def __init__(self):
        self.killed = []

    def choose(self, leaders):
        counts = {node: sum(leader == node for leader in leaders.values()) for node in set(leaders.values())}
        node = max(sorted(counts), key=lambda n: (counts[n], -self.last(n)))
        self.killed.append(node)
        return node, frozenset(p for p, leader in leaders.items() if leader == node)

    def last(self, node):
        return max((i for i, n in enumerate(self.killed) if n == node), default=-1)


def kill_again_and_again(o, peer, topic, is_alive):
    """The kills, in order. `is_alive` says whether the client still runs."""
    victims, kills = Victims(), []
    for number in range(1, o.kills + 1):
        node, led = victims.choose(topic.wait_until_synced())
        wall, killed = time.time(), time.monotonic_ns()
        peer.sh("kill", node)
        time.sleep(o.away)
        up = time.monotonic_ns()
        peer.sh("up", node)
        topic.wait_until_synced()
        synced = time.monotonic_ns()
        kills.append(outage.Kill(node, led, killed, up, synced, wall))
        print(f"kill {number} at {clock(wall)}: node {node}, which led {len(led)}; in sync {(synced - up) / 1e9:.1f} s after its start",
              file=sys.stderr, flush=True)
        if not is_alive():
            raise SystemExit("the client ended by itself; its log is in --work")
        time.sleep(o.quiet)
    return kills


def clock(wall):
    return time.strftime("%H:%M:%S", time.localtime(wall)) + f".{int(wall * 1000) % 1000:03}"


def wait_until_it_writes(producer, noted, log):
    """The client notes verdicts through a buffer: a first piece of it tells of about a second of acknowledgements."""
    deadline = time.monotonic() + START_S
    while not os.path.exists(noted) or os.path.getsize(noted) == 0:
        if producer.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the client has had nothing acknowledged within {START_S} s; see {log}")
        time.sleep(0.05)


def measure(o, client):
    """One client against a fresh cluster: its figures."""
    peer = Peer(o.peer, REPLICAS, 0)
    peer.start()
    try:
        topic = Topic(peer.boot)
        topic.create()
        topic.wait_until_synced()
        common = {"bootstrap": peer.boot, "topic": TOPIC, "partitions": PARTITIONS}
        noted, found, log = (os.path.join(o.work, f"{client}.{ending}") for ending in ("wrote", "read", "log"))
        for old in (noted, found):
            if os.path.exists(old):
                os.remove(old)
        with open(log, "wb") as err:
            argv = command(client, "produce", o.debug, o.set, **common, interval_ms=o.interval_ms, size=SIZE, out=noted)
            producer = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=err)
            try:
                wait_until_it_writes(producer, noted, log)
                time.sleep(o.warmup)
                kills = kill_again_and_again(o, peer, topic, lambda: producer.poll() is None)
                producer.stdin.close()
                if producer.wait(DRAIN_S) != 0:
                    raise SystemExit(f"the {client} producer ended with {producer.returncode}; see {log}")
            finally:
                producer.kill()
                producer.wait()
            subprocess.run(command(client, "read", o.debug, **common, out=found), stderr=err, check=True)
        return figures(client, kills, noted, found)
    finally:
        peer.sh("wipe")


def figures(client, kills, noted, found):
    partitions, failed, end = outage.load(noted, PARTITIONS)
    gaps, slowest = outage.outages(partitions, kills, end)
    each = [{"at": clock(kill.wall), "node": kill.node, "led": len(kill.led), "in_sync_s": round((kill.synced - kill.up) / 1e9, 2)}
            | {f"{phase}_ms": round(ns / 1e6, 1) for phase, ns in gap.items()} for kill, gap in zip(kills, gaps)]
    return {
        "client": client, "kills": len(kills), "sent": sum(len(p.sent) for p in partitions), "failed": failed,
        "outage": {phase: outage.percentiles([gap[phase] for gap in gaps]) for phase in outage.PHASES},
        "slowest_record": {phase: outage.percentiles([slow[phase] for slow in slowest]) for phase in outage.PHASES},
        "read_back": outage.read_back(found, partitions), "each": each,
    }


def table(o, results):
    names = {"led": "partitions led by the killed node", "others": "partitions led by others", "return": "while the node comes back",
             "quiet": "nothing happens"}
    print(f"\n{'client':11} {'outage':36} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    for r in results:
        rows = [(names[phase], r["outage"][phase]) for phase in outage.PHASES]
        rows.insert(1, ("… slowest record", r["slowest_record"]["led"]))
        for name, f in rows:
            print(f"{r['client']:11} {name:36} " + " ".join(f"{f[p]:9.1f}" for p in ("p50_ms", "p90_ms", "p99_ms", "max_ms")))
    for r in results:
        back = r["read_back"]
        print(f"\n{r['client']}: {r['kills']} kills, {r['sent']} records, {r['failed']} failed; read back {back['read']}: {back['lost']} acknowledged ones lost, "
              f"{back['duplicates']} duplicates, {back['reordered']} out of order, {back['foreign']} never sent, "
              f"{back['unacknowledged_present']} there that were not acknowledged")
        slow = sorted(r["each"], key=lambda k: -k["led_ms"])[:5]
        print("  slowest: " + "; ".join(f"{k['at']} node {k['node']} {k['led_ms']} ms" for k in slow))
    if o.set:
        print(f"\nnot stock: {' '.join(o.set)}")


def main():
    o = arguments()
    if o.selftest:
        selftest()
        return
    os.makedirs(o.work, exist_ok=True)
    results = [{"peer": os.path.splitext(os.path.basename(o.peer))[0], **measure(o, client), "settings": o.set} for client in o.clients]
    if o.output == "json":
        for result in results:
            print(json.dumps(result))
    else:
        table(o, results)
    # The client's own duplicates: librdkafka sends again without idempotence by default. Java's are a fault.
    bad = [r["client"] for r in results
           if r["read_back"]["lost"] or r["read_back"]["foreign"] or (r["client"] == "java" and r["read_back"]["duplicates"])]
    if bad:
        sys.exit(f"records were lost, doubled or made up: {','.join(bad)}")


try:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:  # it is in the environment that the client checks install
    if not os.path.exists(PYTHON):
        sys.exit(f"run.py: run tests/clients/install.sh first: there is no {PYTHON}")
    if os.path.realpath(sys.prefix) == os.path.realpath(os.path.dirname(os.path.dirname(PYTHON))):
        raise
    os.execv(PYTHON, [PYTHON, *sys.argv])

if __name__ == "__main__":
    main()
