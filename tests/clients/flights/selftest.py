"""Proves that the judge can fail: doctored histories, each of which must be found, and for the right reason."""
import copy
import os
import subprocess
import tempfile
import zlib

from .judge import History, judge
from .selftest_cluster import checks

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "bench", "peers", "sternpost.sh")
PARTITIONS = 12
ROWS = 600


def good_history():
    rows = [(f"N{i % 97}", f'"flight":{i}}}') for i in range(ROWS)]
    sent = ROWS + 50  # into the second pass
    log, acks, ends = [], [], {p: 0 for p in range(PARTITIONS)}
    for seq in range(sent):
        key, rest = rows[seq % ROWS]
        p = zlib.crc32(key.encode()) % PARTITIONS
        log.append((p, ends[p], key, f'{{"client":"test","seq":{seq},{rest}'))
        acks.append((seq, p, ends[p]))
        ends[p] += 1
    members = [[r for r in log if r[0] % 2 == m] for m in range(2)]
    members[1] += members[1][-5:]  # read again after a rebalance: allowed
    return History(client="test", rows=rows, sent=sent, failed=0, acks=acks, log=log, members=members,
                   bounds={p: (0, end, end) for p, end in ends.items()})


def move_up(rows, partition, offset, by=1):
    """The rows with every offset of a partition from `offset` on moved."""
    return [(p, o + by if p == partition and o >= offset else o, k, v) for p, o, k, v in rows]


def set_bounds(h, partition, high=0, committed=0):
    low, old_high, old_committed = h.bounds[partition]
    h.bounds[partition] = (low, old_high + high, old_committed + committed)


def lost(h):
    """An acknowledged row is gone from the end of a partition, and nobody read it."""
    p, o, k, v = h.log.pop()
    h.members = [[r for r in m if r[:2] != (p, o)] for m in h.members]
    set_bounds(h, p, -1, -1)


def lost_and_reused(h):
    """An acknowledged row is gone and its offset holds another one."""
    p, o, k, v = h.log[-1]
    other = next(r for r in h.log if r[0] == p)
    h.log[-1] = (p, o, *other[2:])


def duplicated(h):
    p, _, k, v = h.log[100]
    end = h.bounds[p][1]
    h.log.append((p, end, k, v))
    h.members[p % 2].append((p, end, k, v))
    set_bounds(h, p, 1, 1)


def reordered(h):
    p = h.log[10][0]
    i, j = [n for n, r in enumerate(h.log) if r[0] == p][3:5]
    a, b = h.log[i], h.log[j]
    h.log[i], h.log[j] = (p, a[1], *b[2:]), (p, b[1], *a[2:])


def wrong_offset(h):
    seq, p, o = h.acks[7]
    h.acks[7] = (seq, p, o + 1)


def untold_and_lost(h):
    """A row that was acknowledged without its offset is gone."""
    seq, p, _ = h.acks[-1]
    lost(h)
    h.acks[-1] = (seq, p, -1)


def untold_elsewhere(h):
    seq, p, _ = h.acks[7]
    h.acks[7] = (seq, (p + 1) % PARTITIONS, -1)


def wrong_partition(h):
    seq, p, o = h.acks[7]
    h.acks[7] = (seq, (p + 1) % PARTITIONS, o)


def gap(h):
    p, o, _, _ = h.log[300]
    h.log = move_up(h.log, p, o)
    h.members = [move_up(m, p, o) for m in h.members]
    set_bounds(h, p, 1, 1)


def content(h):
    p, o, k, v = h.log[20]
    h.log[20] = (p, o, k, v.replace('"flight":', '"flight":9'))


def wrong_key(h):
    p, o, k, v = h.log[20]
    h.log[20] = (p, o, k + "X", v)


def phantom(h):
    p, o, k, v = h.log[-1]
    end = h.bounds[p][1]
    row = (p, end, k, v.replace(f'"seq":{h.sent - 1}', f'"seq":{h.sent + 5}'))
    h.log.append(row)
    h.members[p % 2].append(row)
    set_bounds(h, p, 1, 1)


def short_log(h):
    """The reader stops before the end offset that the server tells."""
    set_bounds(h, 3, 1, 1)


def group_lost(h):
    p, o, _, _ = h.members[0][50]
    h.members[0] = [r for r in h.members[0] if r[:2] != (p, o)]


def group_changed(h):
    """A member read a row that is another one now: an offset was used twice."""
    p, o, k, v = h.members[0][50]
    h.members[0][50] = (p, o, k, h.members[0][49][3])


def idle_member(h):
    h.members = [h.members[0] + h.members[1], []]


def committed_back(h):
    set_bounds(h, 5, 0, -1)


def committed_gone(h):
    low, high, _ = h.bounds[5]
    h.bounds[5] = (low, high, -1)


def failed(h):
    h.failed = 1


def unfinished(h):
    h.acks.pop()


def acked_twice(h):
    h.acks.append(h.acks[0])


DOCTORED = {
    lost: "lost", lost_and_reused: "lost", duplicated: "duplicate", reordered: "reordered", wrong_offset: "wrong_offset",
    untold_and_lost: "lost", untold_elsewhere: "wrong_offset", wrong_partition: "wrong_offset", gap: "gap", content: "content", wrong_key: "content", phantom: "phantom", short_log: "end",
    group_lost: "group_lost", group_changed: "group_changed", idle_member: "idle_member", committed_back: "committed",
    committed_gone: "committed", failed: "failed", unfinished: "unfinished", acked_twice: "acked_twice",
}


def empty_pid_file_is_no_node():
    """A pid file caught before its number is there once counted as a node without one, and ended the job."""
    with tempfile.TemporaryDirectory() as home:
        run = os.path.join(home, "sternpost", "run")
        os.makedirs(run)
        open(os.path.join(run, "node1.pid"), "w").close()
        done = subprocess.run([SCRIPT, "pids"], env={**os.environ, "PEERS_HOME": home}, stdout=subprocess.PIPE, text=True)
    return done.returncode == 0 and not done.stdout


def selftest():
    """Prints one line per check; True when the good history passes, every doctored one is found and the peer script holds."""
    good = good_history()
    findings, again = judge(good)
    ok = not findings.counts and again == 5
    print(f"{'good history':20} {'passes' if ok else f'WRONG: {findings.counts} read again {again}'}")
    untold = copy.deepcopy(good)
    untold.acks[7] = (*untold.acks[7][:2], -1)
    findings, _ = judge(untold)
    ok = ok and not findings.counts
    print(f"{'untold offset':20} {'passes' if not findings.counts else f'WRONG: {findings.counts}'}")
    for doctor, kind in DOCTORED.items():
        h = copy.deepcopy(good)
        doctor(h)
        findings, _ = judge(h)
        found = kind in findings.counts
        ok = ok and found
        print(f"{doctor.__name__:20} {'found' if found else 'NOT FOUND'}: {findings.counts}")
    holds = empty_pid_file_is_no_node()
    print(f"{'empty pid file':20} {'no node' if holds else 'WRONG: taken for a node'}")
    for name, is_good in checks().items():
        print(f"{name:29} {'holds' if is_good else 'DOES NOT HOLD'}")
        holds = holds and is_good
    return ok and holds
