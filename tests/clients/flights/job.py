"""The flights job of one client: topic, a group of two members, all rows produced, everything read back and judged.

The group reads while the producer produces (and while the server is killed, in runs with kills), so its rebalances,
commits and fetches meet the faults too. A fresh reader then tells what the log holds.
"""
import json
import os
import signal
import subprocess
import time

from . import gaps
from . import state as st
from .drivers import DRIVERS
from .judge import History, judge
from .killer import Killer

PARTITIONS = 12
JOIN_S = 60
DRAIN_S = 120
VERB_S = 300
SETTLE_S = 60


class Failed(Exception):
    """The job could not be done to its end; the text says what happened."""


class Tail:
    """Follows a member's output file while it grows: the offset after the last row per partition."""

    def __init__(self, path):
        self.path, self.at, self.next = path, 0, {}

    def read(self):
        if not os.path.exists(self.path):
            return
        with open(self.path, "rb") as f:
            f.seek(self.at)
            data = f.read()
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            partition, offset, _ = line.split(b"\t", 2)
            p, o = int(partition), int(offset) + 1
            if o > self.next.get(p, 0):
                self.next[p] = o
        self.at += whole


def read_rows(path):
    rows = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            partition, offset, key, value = line.rstrip("\n").split("\t", 3)
            rows.append((int(partition), int(offset), key, value))
    return rows


class Job:
    """One client against one running server."""

    def __init__(self, name, server, rows_path, limit, work, kill=None):
        self.driver, self.server, self.rows_path, self.limit = DRIVERS[name], server, rows_path, limit
        self.kill = kill  # (seconds between kills, least number of counted kills) or None
        self.topic = self.group = f"flights-{name}"
        self.work = os.path.join(work, name)
        os.makedirs(self.work)
        self.running = []
        self.result = {"client": name, "rows": 0, "anomalies": {}}

    def path(self, name):
        return os.path.join(self.work, name)

    def options(self, **more):
        return {"bootstrap": self.server.bootstrap, "topic": self.topic, "partitions": PARTITIONS, "group": self.group, **more}

    def spawn(self, name, verb, driver=None, stdout=None, **more):
        driver = driver or self.driver
        log = open(self.path(f"{name}.log"), "ab")
        process = subprocess.Popen(driver.command(verb, self.options(**more)), stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log,
                                   env=driver.env(), start_new_session=True)
        process.log_path = log.name
        log.close()
        self.running.append(process)
        return process

    def wait(self, process, what, seconds=VERB_S):
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{what} did not end within {seconds} s; see {process.log_path}") from None
        if code != 0:
            with open(process.log_path, encoding="utf-8", errors="replace") as f:
                tail = " / ".join(f.read().strip().splitlines()[-3:])
            raise Failed(f"{what} ended with {code}: {tail}; see {process.log_path}")

    def create(self):
        self.wait(self.spawn("create", "create", DRIVERS[self.driver.admin]), "create", 120)

    def start_group(self):
        members = []
        for i in range(2):
            state = st.State(self.path(f"member{i}.state"), create=True)
            process = self.spawn(f"member{i}", "member", state=self.path(f"member{i}.state"), out=self.path(f"member{i}.rows"))
            members.append((process, state))
        deadline = time.monotonic() + JOIN_S
        while True:
            owned = [state[st.ASSIGNED] for _, state in members]
            if sum(owned) == PARTITIONS and min(owned) > 0:
                return members
            self.check_members(members)
            if time.monotonic() > deadline:
                raise Failed(f"the two members did not share {PARTITIONS} partitions within {JOIN_S} s: {owned}")
            time.sleep(0.02)

    def check_members(self, members):
        for i, (process, _) in enumerate(members):
            if process.poll() is not None:
                self.wait(process, f"member {i} ended early and")
                raise Failed(f"member {i} ended early; see {process.log_path}")

    def produce(self):
        """Runs the producer to its end, with the killer beside it when asked."""
        state = st.State(self.path("producer.state"), create=True)
        more = {}
        if self.kill:
            every_s, enough = self.kill
            # One pass over the rows is paced to last about as long as the kills take; more passes follow if needed.
            more = {"repeat": 1, "rate": round(max(200, self.limit / (every_s * enough * 1.2)))}
        began = time.monotonic()
        process = self.spawn("produce", "produce", rows=self.rows_path, limit=self.limit, client=self.driver.name,
                             acks=self.path("acks"), state=self.path("producer.state"), **more)
        killer, counts = None, dict(self.server.counts)
        if self.kill:
            killer = Killer(self.server, state, *self.kill)
            killer.start()
            self.wait_for_kills(process, killer, state)
        self.wait(process, "produce", 600)
        self.result.update({kind: n - counts[kind] for kind, n in self.server.counts.items()})
        self.result["produce_s"] = round(time.monotonic() - began, 2)
        return state, killer

    def wait_for_kills(self, process, killer, state):
        deadline = time.monotonic() + 60 + 20 * killer.enough * max(1.0, killer.every_s)
        while process.poll() is None and killer.is_alive() and state[st.STOP] == 0:
            if time.monotonic() > deadline:
                state[st.STOP] = 1
                break
            time.sleep(0.05)
        killer.end()
        if killer.failure:
            raise Failed(killer.failure)
        self.result.update(kills=killer.counted, kills_idle=killer.idle, kills_early=killer.early,
                           restart_ms_max=max(killer.start_ms, default=None))

    def bounds(self):
        """{partition: (low, high, committed)}; asked again while a server that has just started refuses it."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                with open(self.path("offsets"), "wb") as out:
                    self.wait(self.spawn("offsets", "offsets", DRIVERS[self.driver.admin], stdout=out), "offsets", 120)
                break
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        bounds = {}
        with open(self.path("offsets"), encoding="ascii") as f:
            for line in f:
                partition, low, high, committed = map(int, line.split())
                bounds[partition] = (low, high, committed)
        if len(bounds) != PARTITIONS:
            raise Failed(f"offsets of {len(bounds)} partitions where {PARTITIONS} were expected")
        return bounds

    def drain(self, members):
        """Waits until the group has read to the end, then lets the members commit and leave."""
        began = time.monotonic()
        tails = [Tail(self.path(f"member{i}.rows")) for i in range(2)]
        ends = {p: high for p, (_, high, _) in self.bounds().items()}
        while True:
            for tail in tails:
                tail.read()
            left = {p: end for p, end in ends.items() if end > max(t.next.get(p, 0) for t in tails)}
            if not left:
                break
            self.check_members(members)
            if time.monotonic() - began > DRAIN_S:
                raise Failed(f"the group did not read to the end within {DRAIN_S} s; partitions and ends left: {left}")
            time.sleep(0.05)
        for _, state in members:
            state[st.STOP] = 1
        for i, (process, state) in enumerate(members):
            self.wait(process, f"member {i}", 120)
        self.result["drain_s"] = round(time.monotonic() - began, 2)
        self.result["commit_failures"] = sum(state[st.COMMIT_FAILURES] for _, state in members)

    def history(self, producer):
        rows = []
        with open(self.rows_path, encoding="ascii") as f:
            for _, line in zip(range(self.limit), f):
                key, rest = line.rstrip("\n").split("\t", 1)
                rows.append((key, rest))
        with open(self.path("acks"), encoding="ascii") as f:
            acks = [tuple(map(int, line.split())) for line in f]
        told = [(partition, ms) for _, partition, _, ms in acks]
        by_kind, back = gaps.longest(told, self.server.lacking_ms, self.server.faulted)
        self.result.update({f"{kind}_ms_max": ms for kind, ms in by_kind.items()}, gap_ms_max=max(by_kind.values()), back_ms_max=back)
        acks = [ack[:3] for ack in acks]
        return History(
            client=self.driver.name, rows=rows, sent=producer[st.SENT], failed=producer[st.FAILED], acks=acks,
            log=read_rows(self.path("log.rows")), members=[read_rows(self.path(f"member{i}.rows")) for i in range(2)],
            bounds=self.final_bounds, idempotent=self.driver.idempotent, partitions=PARTITIONS)

    def run(self):
        began = time.monotonic()
        try:
            self.steps()
        except (Failed, SystemExit) as e:
            self.result["anomalies"]["job"] = 1
            self.result["examples"] = [f"job: {e}"]
        finally:
            for process in self.running:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self.result["total_s"] = round(time.monotonic() - began, 2)
        with open(self.path("result.json"), "w", encoding="utf-8") as f:
            json.dump(self.result, f)
        return self.result

    def steps(self):
        self.create()
        members = self.start_group()
        producer, killer = self.produce()
        self.drain(members)
        if killer:
            self.server.kill_all()  # once more at rest: log and committed offsets are judged as recovered
            self.server.restart()
        self.final_bounds = self.bounds()
        began = time.monotonic()
        self.wait(self.spawn("dump", "dump", out=self.path("log.rows")), "dump")
        self.result["dump_s"] = round(time.monotonic() - began, 2)
        h = self.history(producer)
        findings, again = judge(h)
        if killer and killer.counted < killer.enough:
            findings.add("kills", f"{killer.counted} kills hit outstanding rows, {killer.enough} were wanted")
        self.result.update(rows=h.sent, acked=len(h.acks), log=len(h.log), read_again=again,
                           members=[len(m) for m in h.members], rows_per_s=round(h.sent / self.result["produce_s"]),
                           anomalies=findings.counts, examples=findings.examples)
