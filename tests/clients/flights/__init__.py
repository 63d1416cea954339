"""The flights job: rows, server handling, client drivers and the judge (see ../run.py)."""
