"""The flights job's driver around the `kcat` program: produce, member, dump (kcat has no admin verbs).

kcat tells of each delivery its partition and offset, but not which row it was. Rows of one partition are delivered in
order, and librdkafka's default partitioner is CRC-32 of the key modulo the partition count, so the n-th delivery of a
partition is the n-th row whose key hashes there; the judge then finds that very row at that offset, or not.
"""
import collections
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from flights import state as st  # noqa: E402
from flights.options import Pace, parse, rows  # noqa: E402

DELIVERED = re.compile(rb"% Message delivered to partition (\d+) \(offset (-?\d+)\)")
FAILED = re.compile(rb"% (?:Delivery failed|ERROR: .*[Dd]elivery)")
ASSIGNED = re.compile(rb"% Group .* rebalanced .*?: (assigned|revoked)(?:: (.*))?")
INPUT_BUFFER = 4096  # bytes: kcat reads its input through stdio
ROW_FORMAT = r"%p\t%o\t%k\t%s\n"


def kcat(o, *args):
    # The largest reconnect back-off is lowered from 10 s: a server that is killed every second must still be met alive.
    return ["kcat", "-b", o["bootstrap"], "-X", "reconnect.backoff.max.ms=500", "-E", *args]


def unread(pipe):
    """Bytes in the pipe that its reader has not taken yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0]


class Produce:
    """Feeds rows to `kcat -P` and turns its delivery lines into acks."""

    def __init__(self, o):
        self.state = st.State(o["state"])
        self.partitions = int(o["partitions"])
        self.waiting = [collections.deque() for _ in range(self.partitions)]  # seq of unacked rows, oldest first
        self.acks = open(o["acks"], "w", encoding="ascii")
        self.acked = self.failed = 0
        self.written_bytes = 0
        self.process = subprocess.Popen(
            kcat(o, "-P", "-t", o["topic"], "-K", r"\t", "-z", "gzip", "-vvv", "-X", "acks=all", "-X", "enable.idempotence=true",
                 "-X", "message.timeout.ms=180000", "-X", "queue.buffering.max.messages=20000"),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.reports = threading.Thread(target=self.read_reports)
        self.reports.start()

    def read_reports(self):
        for line in self.process.stderr:
            if m := DELIVERED.match(line):
                partition = int(m[1])
                seq = self.waiting[partition].popleft()
                self.acks.write(f"{seq} {partition} {int(m[2])} {round(time.time() * 1000)}\n")
                self.acked += 1
                self.state[st.ACKED] = self.acked
            else:
                sys.stderr.write(line.decode(errors="replace"))
                if FAILED.match(line):
                    self.failed += 1
                    self.state[st.FAILED] = self.failed

    def run(self, o):
        pace, pipe, sent = Pace(o.get("rate", "0")), self.process.stdin.fileno(), 0
        chunk, chunk_rows = [], 0
        # SENT counts only rows that kcat must have taken out of its input: what may still lie in the pipe or in kcat's
        # input buffer is no request.
        taken, lines = 0, collections.deque()

        def flush():
            nonlocal chunk, chunk_rows
            data = memoryview(b"".join(chunk))
            chunk, chunk_rows = [], 0
            while data:
                n = os.write(pipe, data[:16384])
                data = data[n:]
                self.written_bytes += n
                publish()

        def publish():
            nonlocal taken
            sure = self.written_bytes - unread(pipe) - INPUT_BUFFER
            while lines and lines[0] <= sure:
                lines.popleft()
                taken += 1
            self.state[st.SENT] = max(taken, self.acked)

        total = 0
        for seq, key, value in rows(o, lambda: self.state[st.STOP] != 0):
            if pace.rate > 0 and seq % 50 == 0:
                flush()
                pace.wait(seq, lambda s: (publish(), time.sleep(min(s, 0.01))))
            line = f"{key}\t{value}\n".encode("ascii")
            total += len(line)
            lines.append(total)
            self.waiting[zlib.crc32(key.encode("ascii")) % self.partitions].append(seq)
            chunk.append(line)
            chunk_rows += 1
            sent = seq + 1
            if chunk_rows >= 50:
                flush()
        flush()
        self.process.stdin.close()
        self.state[st.SENT] = sent
        code = self.process.wait()
        self.reports.join()
        self.acks.close()
        if code != 0:
            raise SystemExit(f"kcat -P ended with {code}")


def member(o):
    state = st.State(o["state"])
    assigned = set()
    with open(o["out"], "wb") as out:
        process = subprocess.Popen(
            kcat(o, "-u", "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=1000", "-X", "session.timeout.ms=30000",
                 "-f", ROW_FORMAT, "-G", o["group"], o["topic"]),
            stdout=out, stderr=subprocess.PIPE)

        def watch():
            for line in process.stderr:
                sys.stderr.write(line.decode(errors="replace"))
                if m := ASSIGNED.match(line):
                    named = {int(p) for p in re.findall(rb"\[(\d+)\]", m[2] or b"")}
                    if m[1] == b"assigned":
                        assigned.clear()
                        assigned.update(named)
                    else:
                        assigned.clear()
                    state[st.ASSIGNED] = len(assigned)

        watcher = threading.Thread(target=watch)
        watcher.start()
        while state[st.STOP] == 0 and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is not None:
            raise SystemExit(f"kcat -G ended by itself with {process.returncode}")
        process.send_signal(signal.SIGTERM)  # kcat commits what it has printed and leaves the group
        if process.wait(60) != 0:
            raise SystemExit(f"kcat -G ended with {process.returncode}")
        watcher.join()


def dump(o):
    with open(o["out"], "wb") as out:
        subprocess.run(kcat(o, "-C", "-q", "-e", "-o", "beginning", "-f", ROW_FORMAT, "-t", o["topic"]), stdout=out, check=True)


def main():
    verb, o = parse(sys.argv)
    if verb == "produce":
        Produce(o).run(o)
    else:
        {"member": member, "dump": dump}[verb](o)


if __name__ == "__main__":
    main()
