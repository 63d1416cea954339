"""From what a client noted (when it sent each record, when it had the acknowledgement) to the outage of each kill.

The outage of a partition lasts from send() of the first record behind the newest one acknowledged so far, which is the first
that fails or is delayed, until the next acknowledgement of that partition. Without a fault that is one record's latency.
Times are nanoseconds of the monotonic clock, which all processes of one machine share.
"""
import bisect
import collections
import struct
from array import array

WROTE, READ = struct.Struct(">iiqqq"), struct.Struct(">iiq")
NEVER = -1  # acknowledged at
PHASES = ("led", "others", "return", "quiet")


class Kill(collections.namedtuple("Kill", "node led killed up synced wall")):
    """One kill: the node, the partitions that it led, and when it was killed, was told to start, was in sync again."""


class Partition:
    """What the client noted of one partition, by the record's number."""

    def __init__(self):
        self.sent, self.acked = array("q"), array("q")

    def note(self, seq, sent, acked):
        while len(self.sent) <= seq:
            self.sent.append(0)
            self.acked.append(NEVER)
        self.sent[seq], self.acked[seq] = sent, acked

    def gaps(self, end):
        """(from, to) of each time in which records waited and none was acknowledged; `end` is when the client stopped."""
        newest = -1
        for seq in sorted((s for s, at in enumerate(self.acked) if at != NEVER), key=self.acked.__getitem__):
            if newest + 1 < len(self.sent) and self.sent[newest + 1] < self.acked[seq]:
                yield self.sent[newest + 1], self.acked[seq]
            newest = max(newest, seq)
        if newest + 1 < len(self.sent):
            yield self.sent[newest + 1], max(end, self.sent[newest + 1])

    def latencies(self):
        return ((sent, at) for sent, at in zip(self.sent, self.acked) if at != NEVER)


def load(path, partitions):
    """({partition: Partition}, failed records, when the last verdict came) of a file that a client wrote."""
    found, failed, end = [Partition() for _ in range(partitions)], 0, 0
    with open(path, "rb") as file:
        data = file.read()
    for partition, error, seq, sent, done in WROTE.iter_unpack(data[:len(data) // WROTE.size * WROTE.size]):
        found[partition].note(seq, sent, NEVER if error else done)
        failed += error
        end = max(end, done)
    return found, failed, end


def longest(intervals, partition, kills, into):
    """Raises the figures in `into` ({phase: longest, ns} of each kill) to what these (from, to) of a partition say.

    What a kill falls into is that kill's. The rest belongs to the time in which it began, up to the next kill at most.
    """
    times = [kill.killed for kill in kills]
    for begin, end in intervals:
        before, after = bisect.bisect_right(times, begin), bisect.bisect_left(times, end)
        for at in range(before, after):
            raise_to(into[at], "led" if partition in kills[at].led else "others", end - begin)
        if before == 0:
            continue  # before the first kill: the client warms up
        kill = kills[before - 1]
        upto = min(end, times[before]) if before < len(times) else end
        if begin < kill.up:
            phase, upto = "led" if partition in kill.led else "others", end
        else:
            phase = "return" if begin < kill.synced else "quiet"
        raise_to(into[before - 1], phase, upto - begin)


def raise_to(figures, phase, ns):
    figures[phase] = max(figures[phase], ns)


def outages(partitions, kills, end):
    """({phase: longest outage, ns}, {phase: slowest record, ns}) of each kill."""
    gaps, slowest = ([dict.fromkeys(PHASES, 0) for _ in kills] for _ in range(2))
    for number, partition in enumerate(partitions):
        longest(partition.gaps(end), number, kills, gaps)
        longest(partition.latencies(), number, kills, slowest)
    return gaps, slowest


def percentiles(values_ns):
    """p50, p90, p99 and the largest in ms, by the nearest rank: at least so many of the values are no larger."""
    ordered = sorted(values_ns)
    if not ordered:
        return {"count": 0}
    rank = {f"p{p}_ms": ordered[max(0, -(-len(ordered) * p // 100) - 1)] for p in (50, 90, 99)}
    return {"count": len(ordered)} | {name: round(ns / 1e6, 1) for name, ns in {**rank, "max_ms": ordered[-1]}.items()}


def read_back(path, partitions):
    """What a consumer found, beside what was acknowledged."""
    times = [bytearray(len(partition.sent)) for partition in partitions]
    last = [-1] * len(partitions)
    counts = dict.fromkeys(("read", "lost", "duplicates", "reordered", "foreign", "unacknowledged_present"), 0)
    with open(path, "rb") as file:
        data = file.read()
    for partition, _, seq in READ.iter_unpack(data):
        counts["read"] += 1
        if not 0 <= seq < len(times[partition]):
            counts["foreign"] += 1
            continue
        if times[partition][seq]:
            counts["duplicates"] += 1
        else:  # a duplicate stands behind newer records anyway
            counts["reordered"] += seq < last[partition]
        times[partition][seq] = min(255, times[partition][seq] + 1)
        last[partition] = max(last[partition], seq)
    for seen, partition in zip(times, partitions):
        for count, acked in zip(seen, partition.acked):
            counts["lost"] += acked != NEVER and not count
            counts["unacknowledged_present"] += acked == NEVER and count > 0
    return counts
