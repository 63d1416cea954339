#!/usr/bin/env python3
"""Kafka's own console tools (kafka-tools 4.3.1) against a server, with their output checked.

  tools.py BOOTSTRAP                 a server that runs
  tools.py --peer SCRIPT             started and stopped by a peer script (bench/peers/*.sh)

One line per step; exit code 1 when a step's output is not what Apache Kafka's users see.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

from flights.drivers import HOME
from flights.server import Peer

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL_S = 90
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "produce": "org.apache.kafka.tools.ConsoleProducer",
    "consume": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "configs": "kafka.admin.ConfigCommand",
    "offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "election": "org.apache.kafka.tools.LeaderElectionCommand",
}
LOG = """status=error
appender.console.type=Console
appender.console.name=C
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%p %m%n
rootLogger.level=WARN
rootLogger.appenderRef.c.ref=C
"""


class Wrong(Exception):
    """A step's output or exit code is not what was expected."""


class Check:
    """The steps, in order, on one topic and one group."""

    def __init__(self, bootstrap, work):
        self.bootstrap, self.work = bootstrap, work
        self.topic, self.group = f"tools-{os.getpid()}", f"tools-group-{os.getpid()}"
        self.logging = os.path.join(work, "log4j2.properties")
        with open(self.logging, "w", encoding="ascii") as f:
            f.write(LOG)
        self.failures = self.steps = 0

    def tool(self, name, *args, stdin=""):
        server = "--bootstrap-server"
        argv = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={self.logging}",
                "-cp", os.path.join(HOME, "kafka-tools", "*"), TOOLS[name], server, self.bootstrap, *args]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TOOL_S)

    def step(self, what, name, *args, stdin="", code=0, out=(), err=(), never=()):
        """Runs a tool; `out`, `err` are patterns that must be found, `never` ones that must not be."""
        self.steps += 1
        began = time.monotonic()
        try:
            done = self.tool(name, *args, stdin=stdin)
            if done.returncode != code:
                raise Wrong(f"exit code {done.returncode}, expected {code}")
            for text, patterns in ((done.stdout, out), (done.stdout + done.stderr, err)):
                for pattern in patterns:
                    if not re.search(pattern, text, re.MULTILINE):
                        raise Wrong(f"nothing matches {pattern!r}")
            for pattern in never:
                if re.search(pattern, done.stdout, re.MULTILINE):
                    raise Wrong(f"{pattern!r} should not be there")
        except (Wrong, subprocess.TimeoutExpired) as e:
            self.failures += 1
            print(f"FAIL  {what}: {e}")
            if isinstance(e, Wrong):
                for stream in (done.stdout, done.stderr):
                    for line in stream.strip().splitlines()[-6:]:
                        print(f"      {line}")
            return
        print(f"ok    {what} ({time.monotonic() - began:.1f} s)", flush=True)

    def run(self):
        self.topics()
        self.records()
        self.groups()
        self.configs()
        self.cluster()
        self.removal()
        return self.failures

    def topics(self):
        t = self.topic
        self.step("topics: create", "topics", "--create", "--topic", t, "--partitions", "3", "--replication-factor", "1",
                  "--config", "retention.ms=600000", out=[rf"^Created topic {t}\.$"])
        self.step("topics: create again is refused", "topics", "--create", "--topic", t, "--partitions", "3", code=1,
                  err=["TopicExistsException"])
        self.step("topics: list", "topics", "--list", out=[rf"^{t}$"])
        self.step("topics: describe", "topics", "--describe", "--topic", t, out=[
            rf"^Topic: {t}\s+TopicId: \S{{22}}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention\.ms=600000",
            rf"^\s+Topic: {t}\s+Partition: 2\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+"])
        self.step("topics: add partitions", "topics", "--alter", "--topic", t, "--partitions", "4")
        self.step("topics: describe four partitions", "topics", "--describe", "--topic", t, out=["PartitionCount: 4", r"Partition: 3\s+Leader: \d+"])
        self.step("topics: fewer partitions is refused", "topics", "--alter", "--topic", t, "--partitions", "2", code=1,
                  err=["InvalidPartitionsException"])

    def records(self):
        t, lines = self.topic, "".join(f"k{i}:value {i}\n" for i in range(200))
        keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
        self.step("console producer: 200 records", "produce", "--topic", t, *keyed, stdin=lines)
        self.step("console producer: 10 records, lz4, acks=1", "produce", "--topic", t, *keyed, "--compression-codec", "lz4",
                  "--request-required-acks", "1", stdin="".join(f"z{i}:packed {i}\n" for i in range(10)))
        show = [x for p in ("key", "partition", "offset", "timestamp") for x in ("--formatter-property", f"print.{p}=true")]
        self.step("console consumer: from the beginning", "consume", "--topic", t, "--from-beginning", "--max-messages", "210", *show,
                  out=[r"^CreateTime:\d{13}\tPartition:\d\tOffset:\d+\tk0\tvalue 0$", r"\tk199\tvalue 199$", r"\tz9\tpacked 9$"],
                  err=["Processed a total of 210 messages"])
        self.step("console consumer: one partition from an offset", "consume", "--topic", t, "--partition", "1", "--offset", "2",
                  "--max-messages", "1", *show, out=[r"Partition:1\tOffset:2\t"], err=["Processed a total of 1 messages"])
        self.step("get-offsets: latest", "offsets", "--topic", t, out=[rf"^{t}:{p}:\d+$" for p in range(4)])
        self.step("get-offsets: earliest", "offsets", "--topic", t, "--time", "-2", out=[rf"^{t}:{p}:0$" for p in range(4)])
        self.step("get-offsets: by a time in the future", "offsets", "--topic", t, "--time", str(int(time.time() * 1000) + 3_600_000))
        self.step("get-offsets: by a time before all records", "offsets", "--topic", t, "--time", "1000", out=[rf"^{t}:0:0$"])

    def groups(self):
        t, g = self.topic, self.group
        self.step("console consumer: in a group", "consume", "--topic", t, "--group", g, "--from-beginning", "--max-messages", "210",
                  err=["Processed a total of 210 messages"])
        self.step("consumer-groups: list", "groups", "--list", out=[rf"^{g}$"])
        self.step("consumer-groups: describe", "groups", "--describe", "--group", g,
                  out=[rf"^{g}\s+{t}\s+{p}\s+(\d+)\s+\1\s+0\s+-" for p in range(4)], err=["has no active members"])
        self.step("consumer-groups: state", "groups", "--describe", "--group", g, "--state", out=[rf"^{g}\s+\S+:\d+\s+\(\d+\)\s.*Empty\s+0"])
        self.step("consumer-groups: reset offsets to earliest", "groups", "--reset-offsets", "--group", g, "--topic", t, "--to-earliest",
                  "--execute", out=[rf"^{g}\s+{t}\s+{p}\s+0" for p in range(4)])
        self.step("consumer-groups: lag after the reset", "groups", "--describe", "--group", g, out=[rf"^{g}\s+{t}\s+0\s+0\s+(\d+)\s+\1\s+-"])
        self.step("console consumer: the group reads again", "consume", "--topic", t, "--group", g, "--max-messages", "210",
                  err=["Processed a total of 210 messages"])
        self.step("consumer-groups: delete offsets", "groups", "--delete-offsets", "--group", g, "--topic", f"{t}:0",
                  out=[rf"^{t}\s+0\s+Successful"])
        self.step("consumer-groups: delete", "groups", "--delete", "--group", g, out=[r"Deletion of requested consumer groups .* was successful"])
        self.step("consumer-groups: a deleted group is gone", "groups", "--list", never=[rf"^{g}$"])

    def configs(self):
        topic = ["--entity-type", "topics", "--entity-name", self.topic]
        self.step("configs: alter", "configs", "--alter", *topic, "--add-config", "retention.ms=700000,max.message.bytes=2000000",
                  out=[rf"^Completed updating config for topic {self.topic}\.$"])
        self.step("configs: describe", "configs", "--describe", *topic, out=[
            r"max\.message\.bytes=2000000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:max\.message\.bytes=2000000, DEFAULT_CONFIG:message\.max\.bytes=1048588\}",
            r"retention\.ms=700000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention\.ms=700000"])
        self.step("configs: all of them", "configs", "--describe", "--all", *topic, out=[
            r"cleanup\.policy=delete sensitive=false", r"segment\.bytes=1073741824 ", r"retention\.bytes=-1 ", r"min\.insync\.replicas=1 "])
        self.step("configs: remove", "configs", "--alter", *topic, "--delete-config", "retention.ms", out=["Completed updating config"])
        self.step("configs: removed", "configs", "--describe", *topic, never=[r"retention\.ms=700000"])
        self.step("configs: an unknown name is refused", "configs", "--alter", *topic, "--add-config", "no.such.thing=1", code=1,
                  err=["InvalidConfigurationException|Unknown topic config name"])
        self.step("configs: a bad value is refused", "configs", "--alter", *topic, "--add-config", "retention.ms=soon", code=1,
                  err=["InvalidConfigurationException|Invalid value soon"])

    def cluster(self):
        t = self.topic
        self.step("topics: describe shows eligible leaders", "topics", "--describe", "--topic", t, out=[
            rf"^\s+Topic: {t}\s+Partition: 0\s+Leader: \d+\s+Replicas: [\d,]+\s+Isr: [\d,]+\s+Elr:\s+LastKnownElr:\s*$"])
        self.step("topics: none is under-replicated", "topics", "--describe", "--under-replicated-partitions", never=["Partition: "])
        self.step("log-dirs: one topic", "log-dirs", "--describe", "--topic-list", t, out=[
            rf'"partition":"{t}-0","size":[1-9]\d*,"offsetLag":0,"isFuture":false', r'"error":null', r'"logDir":"/[^"]+"'])
        self.step("log-dirs: all topics", "log-dirs", "--describe", out=[rf'"partition":"{t}-3"'])
        self.step("metadata-quorum: status", "quorum", "describe", "--status", out=[
            r"^LeaderId:\s+\d+$", r"^LeaderEpoch:\s+\d+$", r"^HighWatermark:\s+[1-9]\d*$", r"^MaxFollowerLag:\s+0$",
            r'^CurrentVoters:\s+\[.*\d+.*\]$', r"^CurrentObservers:\s+\[\]$"])
        self.step("metadata-quorum: replication", "quorum", "describe", "--replication", out=[
            r"^\d+\s+\S+\s+[1-9]\d*\s+0\s+-?\d+\s+\d{13}\s+Leader\s*$"])
        self.step("leader-election: not needed", "election", "--election-type", "preferred", "--topic", t, "--partition", "0",
                  out=[rf"Valid replica already elected for partitions {t}-0"])
        self.step("leader-election: all partitions", "election", "--election-type", "preferred", "--all-topic-partitions", never=["rror"])
        self.step("leader-election: unclean is not needed", "election", "--election-type", "unclean", "--topic", t, "--partition", "1",
                  out=[rf"Valid replica already elected for partitions {t}-1"])
        self.step("leader-election: an unknown partition is refused", "election", "--election-type", "preferred", "--topic", t,
                  "--partition", "77", code=1, err=["UnknownTopicOrPartition"])

    def removal(self):
        t = self.topic
        path = os.path.join(self.work, "delete.json")
        with open(path, "w", encoding="ascii") as f:
            f.write('{"version":1,"partitions":[{"topic":"%s","partition":0,"offset":5}]}' % t)
        self.step("delete-records: below offset 5", "delete-records", "--offset-json-file", path, out=[rf"partition: {t}-0\s+low_watermark: 5"])
        self.step("get-offsets: the first offset has moved", "offsets", "--topic-partitions", f"{t}:0", "--time", "-2", out=[rf"^{t}:0:5$"])
        self.step("topics: delete", "topics", "--delete", "--topic", t)
        self.step("topics: a deleted topic is gone", "topics", "--list", never=[rf"^{t}$"])
        self.step("topics: deleting it again is refused", "topics", "--delete", "--topic", t, code=1, err=["does not exist as expected"])


def main():
    if len(sys.argv) not in (2, 3) or (sys.argv[1].startswith("-") and not (sys.argv[1] == "--peer" and len(sys.argv) == 3)):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    subprocess.run([os.path.join(HERE, "install.sh")], check=True)
    with tempfile.TemporaryDirectory(prefix="tools.") as work:
        peer = None
        if sys.argv[1] == "--peer":
            peer = Peer(sys.argv[2], work)
            peer.start()
        try:
            check = Check(peer.bootstrap if peer else sys.argv[1], work)
            began = time.monotonic()
            failures = check.run()
        finally:
            if peer:
                peer.sh("wipe")
    print(f"{check.steps - failures} of {check.steps} steps as expected in {time.monotonic() - began:.0f} s")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
