"""Results of franz-go's own suite: collected from test2json events, and compared with those of Apache Kafka.

A test that printed no verdict (the suite stopped before it ended) counts as `unfinished`, which is never a pass.
"""
import collections
import json
import sys

VERDICTS = ("pass", "fail", "skip")

# Tests that skip themselves by what a server advertises, and the capability that will bring them. Only a skip is
# excused by this: once the server advertises the capability, the test runs and must pass.
LATER = {
    "848": "the consumer group protocol of KIP-848 (ConsumerGroupHeartbeat)",
    "Share": "share groups (KIP-932)",
}


def collect(events, out, records, excluded):
    tests, started, output = {}, set(), collections.defaultdict(list)
    seconds = None
    with open(events, encoding="utf-8", errors="replace") as f:
        for text in f:
            try:
                event = json.loads(text)
            except ValueError:
                continue
            name, action = event.get("Test"), event.get("Action")
            if name is None:
                if action in VERDICTS:
                    seconds = event.get("Elapsed")
            elif action == "run":
                started.add(name)
            elif action in VERDICTS:
                tests[name] = action
            elif action == "output":
                output[name].append(event["Output"].rstrip())
    for name in started - tests.keys():
        tests[name] = "unfinished"
    counts = collections.Counter(tests.values())
    if not tests:
        raise SystemExit(f"suite: no test ran; see {events}")
    with open(out, "w", encoding="utf-8") as f:
        json.dump({"suite": "franz-go v1.22.2 pkg/kgo", "records": int(records), "seconds": seconds, "excluded": excluded,
                   "counts": dict(sorted(counts.items())), "tests": dict(sorted(tests.items()))}, f, indent=1)
        f.write("\n")
    for name in sorted(n for n, v in tests.items() if v in ("fail", "unfinished")):
        print(f"{tests[name]}: {name}")
        for line in output[name][-4:]:
            print(f"    {line.strip()[:200]}")
    print(f"{dict(counts)} in {seconds} s; results in {out}")


def waits_for(name, verdict):
    """The later capability that excuses a test's skipping itself."""
    return next((what for word, what in LATER.items() if word in name and verdict == "skip"), None)


def verdicts(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)["tests"]
    except OSError as error:
        raise SystemExit(f"suite: the results cannot be read: {error}") from error


def compare(reference, result, waits_for=waits_for):
    """Prints what passes on Apache Kafka and not here; whether all of that is excused by a later capability."""
    want, have = verdicts(reference), verdicts(result)
    passing = [n for n, v in want.items() if v == "pass"]
    later, missing = [], []
    for name in passing:
        verdict = have.get(name, "not run")
        if verdict != "pass":
            owner = waits_for(name, verdict)
            (later if owner else missing).append((name, verdict, owner))
    for name, _, owner in later:
        print(f"later      {name}: {owner}")
    for name, verdict, _ in missing:
        print(f"{verdict:10} {name}")
    here = len(passing) - len(missing) - len(later)
    print(f"{len(passing)} tests pass on Apache Kafka; here {here} pass, {len(later)} wait for a later capability, {len(missing)} are missing")
    if better := [n for n, v in have.items() if v == "pass" and want.get(n) not in ("pass", None)]:
        print(f"passing here and not there: {', '.join(better)}")
    return not missing


def main():
    if sys.argv[1] == "collect":
        collect(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    else:
        sys.exit(0 if compare(sys.argv[2], sys.argv[3]) else 1)


if __name__ == "__main__":
    main()
