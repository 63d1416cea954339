"""A small shared file through which a driver program and the job see each other while both run.

Eight little-endian u64 slots. The driver counts in its slots with every row; the job reads them (a killer wants to know
whether rows are outstanding at this instant) and writes only STOP. Aligned 8-byte stores: a reader sees old or new.
"""
import mmap
import struct

SENT, ACKED, FAILED, STOP, ASSIGNED, CONSUMED, COMMITS, COMMIT_FAILURES = range(8)
SIZE = 64


class State:
    """One mapped state file; `create` makes it with zeros."""

    def __init__(self, path, create=False):
        if create:
            with open(path, "wb") as f:
                f.write(bytes(SIZE))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), SIZE)

    def __getitem__(self, slot):
        return struct.unpack_from("<Q", self.map, slot * 8)[0]

    def __setitem__(self, slot, value):
        struct.pack_into("<Q", self.map, slot * 8, value)

    def outstanding(self):
        """Rows handed to the client library and neither acknowledged nor failed."""
        acked = self[ACKED] + self[FAILED]  # read first: a row sent meanwhile makes the answer larger, never negative
        return max(0, self[SENT] - acked)
