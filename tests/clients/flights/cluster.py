"""Three nodes behind a peer script, and what is done to them: kill -9, a pause, a cut from the others; now and then to two at once.

While two are away nothing may be acknowledged; the third keeps what it has been given.
"""
import os
import random
import signal
import time

from .server import Peer, lives
from .ways import Ways

NODES = (1, 2, 3)
MAJORITY = 2
FAULTS = {"kill": 2, "pause": 1, "cut": 1}  # how often each comes, in relation
CUT_FORMS = ((True, True), (True, True), (True, False), (False, True))  # (inward, outward)
TWO_EVERY = 6  # every so many faults hit two nodes
AWAY_S = (0.2, 2.5)  # how long a node is away: mostly long enough that the others have to replace it


def now_ms():
    """The clock by which drivers say when a row was acknowledged."""
    return round(time.time() * 1000)


class Cluster(Peer):
    """`kill` does one of the faults to a node by chance, sometimes to two; `restart` ends what there is."""

    has_others = True

    def __init__(self, script, work, faults=tuple(FAULTS)):
        super().__init__(script, work)
        self.faults = faults
        self.random = random.Random(2)
        self.deck = []
        self.struck = 0
        self.again = None  # node that is being started, to be killed meanwhile
        self.pids, self.away = {}, {}  # {node: pid}, {node: fault}
        self.counts = dict.fromkeys([*faults, "two"], 0)
        self.lacking_ms, self.faulted = [], []
        self.ways = None
        if "cut" in faults:
            self.ways = Ways(dict(zip(NODES, map(int, self.sh("peer-ports")))))
            ports = (str(self.ways.port(i, j)) for i in NODES for j in NODES if i != j)
            self.env = {**os.environ, "STERNPOST_PEER_WAYS": " ".join(ports)}

    def start(self):
        self.sh("wipe")
        self.bootstrap = self.sh("start3")[-1]
        self.find_pids()
        if self.ways and not self.ways.passed:
            raise SystemExit(f"the nodes of {self.script} do not talk over the ways they were given; leave cut out of --faults")

    def find_pids(self):
        self.pids = self.running()

    def away_s(self):
        return self.random.uniform(*AWAY_S)

    def has_majority(self):
        return len(NODES) - len(self.away) >= MAJORITY

    def kill(self):
        if self.again is not None:
            node, self.again = self.again, None
            self.kill_node(node)
            return
        self.struck += 1
        is_two = self.struck % TWO_EVERY == 0
        for node in self.random.sample(NODES, 2 if is_two else 1):
            if not self.deck:
                self.deck = [fault for fault in self.faults for _ in range(FAULTS[fault])]
                self.random.shuffle(self.deck)
            self.strike(node, self.deck.pop())
        self.counts["two"] += is_two

    def strike(self, node, fault):
        self.note_away(node, fault)
        self.faulted.append((now_ms(), fault))
        self.counts[fault] += 1
        if fault == "pause":
            os.kill(self.pids[node], signal.SIGSTOP)
        elif fault == "cut":
            self.ways.cut(node, *self.random.choice(CUT_FORMS))
        else:
            self.kill_node(node)

    def kill_node(self, node):
        if self.ways:
            self.ways.refuse(node)
        self.pid = self.pids[node]
        super().kill()

    def kill_all(self):
        for node in NODES:
            self.note_away(node, "kill")
            self.kill_node(node)

    def end(self, node):
        """Ends what is done to the node, and waits until it answers clients."""
        fault = self.away[node]
        if fault == "pause":
            os.kill(self.pids[node], signal.SIGCONT)
        elif fault == "cut":
            others = [other for other, what in self.away.items() if what == "cut" and other != node]
            self.ways.heal(node, others, broken=self.random.random() < 0.5)
        else:
            if self.ways:
                self.ways.accept(node)
            self.sh("up", str(node))
            self.find_pids()
        self.note_back(node)

    def note_away(self, node, fault):
        """Called before the fault comes: what is acknowledged from now on may come from the others alone."""
        had = self.has_majority()
        self.away[node] = fault
        if had and not self.has_majority():
            self.lacking_ms.append((now_ms(), float("inf")))

    def note_back(self, node):
        had = self.has_majority()
        del self.away[node]
        if self.has_majority() and not had:
            self.lacking_ms[-1] = (self.lacking_ms[-1][0], now_ms())

    def spawn(self):
        """Begins to bring back one that was killed, for a kill in the middle of its start. Whether there was one."""
        killed = [node for node, fault in self.away.items() if fault == "kill"]
        if not killed:
            return False
        self.again = killed[0]
        if self.ways:
            self.ways.accept(self.again)
        self.pid = self.pids[self.again]
        self.spawn_node(self.again)
        self.pids[self.again] = self.pid
        return True

    def end_all(self):
        for node in list(self.away):
            self.end(node)

    restart = heal = end_all

    def alive(self):
        return all(lives(pid) for node, pid in self.pids.items() if self.away.get(node) != "kill")

    def stop(self):
        for node, fault in self.away.items():
            if fault == "pause":
                os.kill(self.pids[node], signal.SIGCONT)
        super().stop()
        if self.ways:
            self.ways.close()
