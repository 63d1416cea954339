"""Judges one run of the flights job by offset: what was acknowledged, what the log holds, what the group read.

The log is what a fresh reader got after everything (and, in runs with kills, after one more kill). Every finding has a
kind, so that a doctored history can be checked to be found for the right reason (see selftest.py).
"""
import dataclasses
import re

SEQ = re.compile(r'"seq":(\d+)')
EXAMPLES = 3


@dataclasses.dataclass
class History:
    """All that is known of one run. A row is (partition, offset, key, value)."""

    client: str
    rows: list  # (key, rest) as in the row file; row number is seq modulo their count
    sent: int
    failed: int
    acks: list  # (seq, partition, offset); offset -1: the client was not told
    log: list  # rows of the fresh reader
    members: list  # one list of rows per group member, in the order they were read
    bounds: dict  # partition -> (low, high, committed)
    idempotent: bool = True
    partitions: int = 12


class Findings:
    """Counts per kind, with the first examples of each."""

    def __init__(self):
        self.counts, self.examples = {}, []

    def add(self, kind, text):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {text}")


def expected_value(history, seq):
    key, rest = history.rows[seq % len(history.rows)]
    return key, f'{{"client":"{history.client}","seq":{seq},{rest}'


def seq_of(value):
    m = SEQ.search(value)
    return int(m[1]) if m else -1


def judge_log(h, f):
    """Offsets dense, content as sent, order kept, duplicates; returns {(partition, offset): row} and the seqs found."""
    at, next_offset, last_seq, seen = {}, {}, {}, set()
    for partition, offset, key, value in h.log:
        want = next_offset.get(partition, h.bounds.get(partition, (0,))[0])
        if offset != want:
            f.add("gap", f"partition {partition}: offset {offset} where {want} was due")
        next_offset[partition] = offset + 1
        seq = seq_of(value)
        at[partition, offset] = (seq, key, value)
        if not 0 <= seq < h.sent:
            f.add("phantom", f"partition {partition} offset {offset} holds a row that was never sent: {value[:60]}")
            continue
        if (key, value) != expected_value(h, seq):
            f.add("content", f"partition {partition} offset {offset}: row {seq} is not what was sent")
        if seq in seen:
            if h.idempotent:
                f.add("duplicate", f"row {seq} again at partition {partition} offset {offset}")
        elif seq < last_seq.get(partition, -1):
            f.add("reordered", f"partition {partition} offset {offset}: row {seq} after row {last_seq[partition]}")
        seen.add(seq)
        last_seq[partition] = max(seq, last_seq.get(partition, -1))
    for partition in range(h.partitions):
        high = h.bounds.get(partition, (0, -1))[1]
        if next_offset.get(partition, 0) != high:
            f.add("end", f"partition {partition}: the log was read up to {next_offset.get(partition, 0)}, its end offset is {high}")
    return at, seen


def judge_acks(h, at, seen, f):
    acked, partition_of = set(), {row[0]: partition for (partition, _), row in at.items()}
    for seq, partition, offset in h.acks:
        if seq in acked:
            f.add("acked_twice", f"row {seq}")
        acked.add(seq)
        if (partition, offset) in at and at[partition, offset][0] == seq:
            continue
        if offset == -1 and partition_of.get(seq) == partition:
            continue
        if seq in seen:
            f.add("wrong_offset", f"row {seq} was acknowledged at partition {partition} offset {offset}, and is elsewhere")
        else:
            f.add("lost", f"row {seq}, acknowledged at partition {partition} offset {offset}")
    if h.failed:
        f.add("failed", f"{h.failed} rows were given up by the client")
    if len(acked) != h.sent:
        f.add("unfinished", f"{h.sent} rows sent, {len(acked)} acknowledged")


def judge_group(h, at, f):
    """Returns the number of rows that the group read more than once.

    That is allowed (a group reads at least once: after a rebalance from the last commit), as long as it reads the same;
    a jump forward over rows that nobody read is found by coverage.
    """
    read, again = set(), 0
    for number, member in enumerate(h.members):
        if not member:
            f.add("idle_member", f"member {number} read nothing")
        for partition, offset, key, value in member:
            row = at.get((partition, offset))
            if row is None or row[1:] != (key, value):
                f.add("group_changed", f"member {number} read row {seq_of(value)} at partition {partition} offset {offset}; "
                                       f"the log holds {row[0] if row else 'nothing'} there")
            if (partition, offset) in read:
                again += 1
            read.add((partition, offset))
    for partition, offset in at.keys() - read:
        f.add("group_lost", f"partition {partition} offset {offset} was read by no member")
    for partition, (_low, high, committed) in sorted(h.bounds.items()):
        if committed != high and not (committed == -1 and high == 0):
            f.add("committed", f"partition {partition}: committed {committed}, end {high}")
    return again


def judge(h):
    """(Findings, rows re-read by the group)."""
    f = Findings()
    at, seen = judge_log(h, f)
    judge_acks(h, at, seen, f)
    again = judge_group(h, at, f)
    return f, again
