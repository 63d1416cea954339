"""Command line of the driver programs written in Python: `VERB --name value ...`, the same for drivers in any language."""
import time


def parse(argv):
    """(verb, {name: value}) of `VERB --name value ...`."""
    if len(argv) < 2 or len(argv) % 2 != 0:
        raise SystemExit(f"usage: {argv[0]} create|produce|member|dump|offsets --name value ...")
    options = {}
    for name, value in zip(argv[2::2], argv[3::2]):
        if not name.startswith("--"):
            raise SystemExit(f"{argv[0]}: expected an option, found {name}")
        options[name[2:]] = value
    return argv[1], options


class Pace:
    """Holds a loop at `rate` rows per second (0: as fast as it can)."""

    def __init__(self, rate):
        self.rate, self.start = float(rate), time.monotonic()

    def wait(self, rows, poll):
        """Blocks until row number `rows` is due, calling `poll(seconds)` meanwhile."""
        if self.rate <= 0 or rows % 50:
            return
        while (ahead := rows / self.rate - (time.monotonic() - self.start)) > 0:
            poll(min(ahead, 0.05))


def rows(options, stopped):
    """Yields (seq, key, value) for every row, again from the top with --repeat 1 until `stopped()` says so."""
    head = '{"client":"%s","seq":' % options["client"]
    limit, repeat = int(options["limit"]), options.get("repeat") == "1"
    with open(options["rows"], encoding="ascii") as f:
        lines = [line.rstrip("\n").split("\t", 1) for _, line in zip(range(limit), f)]
    seq = 0
    while True:
        for key, rest in lines:
            if seq >= len(lines) and stopped():
                return
            yield seq, key, f"{head}{seq},{rest}"
            seq += 1
        if not repeat:
            return
