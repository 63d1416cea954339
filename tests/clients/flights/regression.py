"""Runs librdkafka's regression tests, each number in a process of its own, and compares the verdicts with those of Apache Kafka.

  regression.py run TESTS-FOLDER LOGS-FOLDER OUT.json [--timeout S] [--flags FLAGS] [--tests "0005 0081"]
  regression.py compare REFERENCE.json RESULT.json
  regression.py list

A test whose process ended or hung before its verdict counts as `unfinished`, which is never a pass.
"""
import argparse
import collections
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time

import suite

SUITE = "librdkafka 2.15.1"
# The suite asks brokers of a certain version for what came with it.
KAFKA_VERSION = "4.4.0"
VERDICTS = {"PASSED": "pass", "FAILED": "fail", "SKIPPED": "skip"}
SHARE = "share groups (KIP-932)"
SECURITY = "security"
TRANSACTIONS = "transactions"
EXCLUDED = {
    "0097": SECURITY, "0115": SECURITY, "0119": SECURITY, "0126": SECURITY, "0135": SECURITY, "0142": SECURITY,
    "0098": TRANSACTIONS, "0103": TRANSACTIONS, "0129": TRANSACTIONS,
    **{f"{number:04}": SHARE for number in (*range(170, 187), 190)},
}
# Tests of which some parts need what is left out: only these parts run, each by itself (the suite's SUBTESTS).
PARTS = {
    "0055": ("standard settings", "low linger.ms", "microsecond linger.ms", "high linger.ms", "linger.ms < 1000", "no acks", "idempotence"),
    "0061": ("without transactions",),
    "0081": ("unclean_destroy", "do_test_CreateTopics", "do_test_DeleteTopics", "do_test_CreatePartitions", "do_test_AlterConfigs",
             "do_test_IncrementalAlterConfigs", "do_test_DescribeConfigs:", "do_test_DescribeConfigs_groups", "do_test_DeleteRecords",
             "do_test_ListConsumerGroups", "do_test_DescribeConsumerGroups:", "do_test_DescribeTopics", "do_test_DescribeCluster",
             "do_test_DeleteGroups", "do_test_DeleteConsumerGroupOffsets", "do_test_ListOffsets", "do_test_AlterConsumerGroupOffsets",
             "do_test_ListConsumerGroupOffsets"),
    "0137": ("do_test_consume_batch_with_seek", "do_test_consume_batch_store_offset", "pause_and_resume_different_batch",
             "pause_and_resume_same_batch", "do_test_consume_batch_eof_position"),
}
# What passes on Apache Kafka and fails here until a later capability; no other verdict is excused by it.
LATER = {
    "0077_compaction": "log compaction",
    "0081_admin (do_test_IncrementalAlterConfigs)": "settings of groups, which come with the consumer group protocol of KIP-848",
    "0081_admin (do_test_DescribeConfigs_groups)": "settings of groups, which come with the consumer group protocol of KIP-848",
}
DECLARED = re.compile(r"^ +_TEST\(\s*((\d{4})_\w+),\s*([^,)]*)", re.M)
FAILURE = re.compile(r"(TEST FAILURE|### Test .* failed at|Test .* timed out|^%ERROR)")


@functools.cache
def of_server(folder):
    """The tests that speak to a server, in their order; the others (`-L` leaves them out) judge the client alone."""
    with open(os.path.join(folder, "test.c"), encoding="utf-8") as f:
        declared = DECLARED.findall(f.read())
    if not declared:
        raise SystemExit(f"regression: no tests are declared in {folder}/test.c")
    return {name: number for name, number, flags in declared if "TEST_F_LOCAL" not in flags and "TEST_F_MANUAL" not in flags}


def one(folder, logs, number, part, o):
    """Runs a number, or a part of its test: the verdict of each test, how long it took, and its log."""
    label = number + (f"-{re.sub('[^A-Za-z_.]+', '-', part)}" if part else "")
    report, log = os.path.join(logs, f"{label}.json"), os.path.join(logs, f"{label}.log")
    if os.path.exists(report):
        os.remove(report)
    env = {"TEST_KAFKA_VERSION": KAFKA_VERSION, **os.environ, "TESTS": number, "TEST_REPORT": report,
           "LD_LIBRARY_PATH": "../src:../src-cpp"} | ({"SUBTESTS": part} if part else {})
    began = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(["./test-runner", "-p1", "-L", *o.flags.split()], cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(o.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = round(time.monotonic() - began, 1)
    try:
        with open(report, encoding="utf-8", errors="replace") as f:
            tests = json.loads(f.read(), strict=False)["tests"]
    except (OSError, ValueError):
        return {label: "unfinished"}, seconds, log
    mine = [name for name, of in of_server(folder).items() if of == number and name in tests]
    named = {name + (f" ({part})" if part else ""): VERDICTS.get(tests[name]["state"], "unfinished") for name in mine}
    if part and "pass" in named.values() and not ran(log, part):
        named = {name: "skip" for name in named}  # no such part: nothing was tried
    return named, seconds, log


def ran(log, part):
    with open(log, encoding="utf-8", errors="replace") as f:
        return any(part in line and ": PASS (" in line for line in f)


def why(log):
    """The lines that say why, of a test that failed."""
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in f]
    at = next((i for i, line in enumerate(lines) if FAILURE.search(line)), len(lines) - 1)
    return [line for line in lines[at:at + 4] if line]


def run(o):
    os.makedirs(o.logs, exist_ok=True)
    wanted = o.tests.split() if o.tests else [number for number in dict.fromkeys(of_server(o.folder).values()) if number not in EXCLUDED]
    tests, durations = {}, {}
    runs = [(number, part) for number in wanted for part in PARTS.get(number, (None,))]
    for at, (number, part) in enumerate(runs, 1):
        verdicts, seconds, log = one(o.folder, o.logs, number, part, o)
        tests.update(verdicts)
        durations[number, part] = seconds
        for name, verdict in verdicts.items():
            print(f"{at}/{len(runs)} {name}: {verdict} ({seconds} s)", file=sys.stderr, flush=True)
            if verdict in ("fail", "unfinished"):
                for line in why(log):
                    print(f"    {line[:200]}", file=sys.stderr, flush=True)
    if not tests:
        raise SystemExit("regression: no test ran")
    counts = collections.Counter(tests.values())
    with open(o.out, "w", encoding="utf-8") as f:
        json.dump({"suite": SUITE, "flags": o.flags, "seconds": round(sum(durations.values())), "excluded": EXCLUDED,
                   "counts": dict(sorted(counts.items())), "tests": dict(sorted(tests.items()))}, f, indent=1)
        f.write("\n")
    print(f"{dict(counts)} in {round(sum(durations.values()))} s; results in {o.out}, logs in {o.logs}")


def waits_for(name, verdict):
    return LATER.get(name) if verdict == "fail" else None


def compare(o):
    sys.exit(0 if suite.compare(o.reference, o.result, waits_for) else 1)


def tell(_):
    for number, what in sorted(EXCLUDED.items()):
        print(f"{number}: {what}")
    for number, parts in PARTS.items():
        print(f"{number}: all but these parts need one of them: {', '.join(parts)}")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = a.add_subparsers(required=True)
    r = words.add_parser("run")
    for name in ("folder", "logs", "out"):
        r.add_argument(name, type=os.path.abspath)
    r.add_argument("--timeout", type=float, default=900, help="seconds for the tests of a number")
    r.add_argument("--flags", default="", help="of the suite's program, such as -Q")
    r.add_argument("--tests", help="numbers, default all that are not left out")
    r.set_defaults(does=run)
    c = words.add_parser("compare")
    c.add_argument("reference")
    c.add_argument("result")
    c.set_defaults(does=compare)
    words.add_parser("list").set_defaults(does=tell)
    o = a.parse_args()
    o.does(o)


if __name__ == "__main__":
    main()
