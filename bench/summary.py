#!/usr/bin/env python3
"""summary.py RESULTS.jsonl: a table of the measurements; with two servers also the ratios A / B.

A row is one figure of one measurement: the median of each server's repetitions, and the median, lowest and highest of
the ratios of the pairs (each pair measured one right after the other).
"""
import collections
import json
import statistics
import sys

# figure -> (what is in the result, unit)
FIGURES = (
    ("records_per_s", lambda r: r.get("records_per_s"), "records/s"),
    ("server_cpu_s_per_gb", lambda r: r.get("server_cpu_s_per_gb"), "server CPU s/GB"),
    ("bytes_per_batch", lambda r: r.get("bytes_per_batch"), "bytes/batch"),
    ("disk_written_mb", lambda r: r.get("disk_written_mb") if r.get("cmd") in ("produce", "e2e") else None, "disk MB written"),
    ("ack_p99", lambda r: (r.get("ack_latency") or {}).get("p99_ms") if r.get("sync_workers") or r.get("cmd") in ("e2e", "disk") else None, "ack p99 ms"),
    ("e2e_p50", lambda r: (r.get("e2e_latency") or {}).get("p50_ms"), "end-to-end p50 ms"),
    ("e2e_p99", lambda r: (r.get("e2e_latency") or {}).get("p99_ms"), "end-to-end p99 ms"),
    ("first_ack", lambda r: r.get("first_ack_ms"), "first ack ms"),
    ("create", lambda r: r.get("isr_ms"), "topics ready ms"),
    ("gap", lambda r: (r.get("gap_victim_led") or {}).get("max_ms"), "longest gap ms"),
    ("idle_rss", lambda r: total(r.get("idle_memory_mib"), "rss"), "idle memory MiB"),
    ("idle_anon", lambda r: total(r.get("idle_memory_mib"), "anon"), "idle anonymous MiB"),
    ("loaded_rss", lambda r: total(r.get("loaded_memory_mib"), "rss"), "loaded memory MiB"),
    ("loaded_anon", lambda r: total(r.get("loaded_memory_mib"), "anon"), "loaded anonymous MiB"),
    ("foreign", lambda r: r.get("foreign_cpu_s"), "foreign CPU s"),
)

UNITS = {name: unit for name, _, unit in FIGURES}


def unreached(seconds):
    return f"not reached in {seconds} s"


def total(nodes, part):
    return sum(n.get(part, 0) for n in nodes) if nodes else None


def figures(result):
    found = {}
    for name, get, _ in FIGURES:
        value = get(result)
        if value is not None:
            found[name] = value
    return found


def one_line(result):
    if "error" in result:
        return f"ERROR {result['error']}"
    parts = [f"{value:g} {unit}" for (name, _, unit) in FIGURES if (value := figures(result).get(name)) is not None]
    parts += [f"{UNITS[name]}: {unreached(limit)}" for name, limit in (result.get("not_reached") or {}).items()]
    if back := result.get("readback"):
        parts.append(f"lost {back['acked_lost']} duplicated {back['duplicates']} reordered {back['reordered']}")
    if result.get("errors"):
        parts.append(f"errors {result['errors']}")
    if (result.get("quiet_wait_s") or 0) < 0:
        parts.append("(the machine was not quiet)")
    return "  ".join(parts)


def name_of(result):
    return result["peer"] + (" fsync" if result.get("flush") else "")


def table(results):
    """Markdown; the first server that appears is A."""
    servers = list(dict.fromkeys(name_of(r) for r in results))
    rows = collections.OrderedDict()  # (label, figure) -> {server: {pair: value}}
    missed = {}  # (label, figure, server) -> seconds waited in a repetition that did not get there
    for r in results:
        for figure, value in figures(r).items():
            row = rows.setdefault((r.get("label", ""), figure), {})
            row.setdefault(name_of(r), {})[r.get("pair", 0)] = value
        for figure, limit in (r.get("not_reached") or {}).items():
            rows.setdefault((r.get("label", ""), figure), {})
            missed[(r.get("label", ""), figure, name_of(r))] = limit
    head = ["load", "figure", *servers] + (["ratio A/B, median of pairs", "lowest-highest"] if len(servers) == 2 else [])
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for (label, figure), values in rows.items():
        cells = [label, UNITS[figure]]
        for server in servers:
            got = list(values.get(server, {}).values())
            limit = missed.get((label, figure, server))
            cells.append(unreached(limit) if limit else number(statistics.median(got)) if got else "-")
        if len(servers) == 2:
            cells += ratio(values, servers) if figure != "foreign" else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    errors = [f"{name_of(r)} {r.get('label')}: {r['error']}" for r in results if "error" in r]
    return "\n".join(lines + [""] * bool(errors) + errors)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ratio(values, servers):
    a, b = (values.get(s, {}) for s in servers)
    pairs = [a[i] / b[i] for i in sorted(a.keys() & b.keys()) if b[i]]
    if not pairs:
        return ["-", "-"]
    return [f"{statistics.median(pairs):.3g}", f"{min(pairs):.3g}-{max(pairs):.3g}"]


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        print(table([json.loads(line) for line in f]))


if __name__ == "__main__":
    main()
