"""How long a client could not write: the longest time between two acknowledgements of one partition, while its rows kept coming.

Without a majority of the nodes there must be none: that time does not count, but from when a majority is back.
"""

NOTHING = "nothing"  # was done before


def longest(acks, lacking=(), faults=()):
    """({kind of the fault before: the longest with a majority all the time}, the longest after its return), milliseconds.

    `acks`: (partition, ms) of each acknowledgement; `lacking`: (from, to) in ms, the times without a majority, in order;
    `faults`: (ms, kind) of what was done to the nodes, in order.
    """
    by_kind, after_return = {NOTHING: 0}, 0
    last, kind, coming = {}, NOTHING, list(reversed(faults))
    for partition, ms in sorted(acks, key=lambda ack: ack[1]):
        while coming and coming[-1][0] <= ms:
            kind = coming.pop()[1]
        since = last.get(partition, ms)
        last[partition] = ms
        within = [(a, b) for a, b in lacking if a < ms and b > since]
        if within:
            after_return = max(after_return, ms - within[-1][1])
            ms = within[0][0]
        by_kind[kind] = max(by_kind.get(kind, 0), ms - since)
    return by_kind, after_return
