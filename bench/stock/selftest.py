"""Histories with known outages, each of which must come out as it is."""
import os
import struct
import tempfile

import outage

MS = 1_000_000
PERIOD, LATENCY = 5 * MS, 2 * MS


def history(stalls):
    """A partition written every 5 ms for 10 s, acknowledged 2 ms later, or when the stall (from, to, ms) that it meets ends."""
    partition = outage.Partition()
    for seq in range(2000):
        sent = seq * PERIOD
        acked = sent + LATENCY
        for begin, end in stalls:
            if begin * MS <= acked < end * MS:
                acked = end * MS
        partition.note(seq, sent, acked)
    return partition


def kill(at_ms, led=(0,)):
    return outage.Kill(1, frozenset(led), at_ms * MS, (at_ms + 1000) * MS, (at_ms + 1500) * MS, 0.0)


def expect(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"selftest: {what}: expected {wanted}, found {found}")


def gaps_ms(partitions, kills):
    return [{phase: ns // MS for phase, ns in gap.items()} for gap in outage.outages(partitions, kills, 10_000 * MS)[0]]


def outages_are_found():
    kills = [kill(1000), kill(6000)]
    # The record of 1000 ms is the first that is not acknowledged in time, that of 995 ms the newest that is.
    expect("a stall after each kill", gaps_ms([history([(1000, 1300), (6001, 6101)]), history([])], kills),
           [{"led": 300, "others": 2, "return": 2, "quiet": 2}, {"led": 101, "others": 2, "return": 2, "quiet": 2}])
    expect("others stand still, too", gaps_ms([history([]), history([(1000, 1200)])], kills)[0],
           {"led": 2, "others": 200, "return": 2, "quiet": 2})
    expect("stalls of the return and of nothing", gaps_ms([history([(2100, 2200), (4000, 4050)])], kills)[0],
           {"led": 2, "others": 0, "return": 100, "quiet": 50})
    expect("a stall into the next kill counts for both", gaps_ms([history([(1000, 6500)])], kills)[1]["led"], 5500)


def an_outage_ends_with_any_acknowledgement():
    partition = history([])
    stuck = 200  # sent at 1000 ms: acknowledged late, while those behind it go on
    partition.acked[stuck] = 1900 * MS
    gaps, slowest = outage.outages([partition], [kill(999)], 10_000 * MS)
    expect("a record that others overtake", (gaps[0]["led"] // MS, slowest[0]["led"] // MS), (7, 900))


def one_that_never_ends_counts_until_the_client_stopped():
    partition = history([])
    for seq in range(200, 2000):
        partition.acked[seq] = outage.NEVER
    expect("no acknowledgement any more", gaps_ms([partition], [kill(1000)])[0]["led"], 9000)


def the_read_back_is_judged():
    partition = history([])
    partition.acked[7] = outage.NEVER
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "read")
        numbers = [n for n in range(2000) if n not in (10, 11)] + [20, 30, 11, 5000]
        with open(path, "wb") as file:
            file.write(b"".join(struct.pack(">iiq", 0, 0, n) for n in numbers))
        expect("read back", outage.read_back(path, [partition]),
               {"read": 2002, "lost": 1, "duplicates": 2, "reordered": 1, "foreign": 1, "unacknowledged_present": 1})


def percentiles_are_nearest_ranks():
    found = outage.percentiles([n * MS for n in range(1, 301)])
    expect("percentiles", found, {"count": 300, "p50_ms": 150.0, "p90_ms": 270.0, "p99_ms": 297.0, "max_ms": 300.0})


def selftest():
    checks = (outages_are_found, an_outage_ends_with_any_acknowledgement, one_that_never_ends_counts_until_the_client_stopped,
              the_read_back_is_judged, percentiles_are_nearest_ranks)
    for check in checks:
        check()
    print(f"selftest: {len(checks)} passed, 0 failed")
