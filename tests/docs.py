#!/usr/bin/env python3
"""Runs the examples of README.md and docs/cli.md as a reader would: one server from the README's own command, then every
block marked `sh`, in order, each line's failure being the block's. Blocks marked `sh test` are the test command itself."""
import os, re, signal, socket, subprocess, sys, tempfile, time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PAGES = ["README.md", "docs/cli.md"]
START_LIMIT_S = 600  # the README's command builds first when nothing is built


def blocks(page):
    text = open(os.path.join(ROOT, page)).read()
    for found in re.finditer(r"^```sh([^\n]*)\n(.*?)^```", text, re.M | re.S):
        yield found.group(1).strip(), found.group(2), text[: found.start()].count("\n") + 1


def answers(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def main():
    if answers(9092):
        sys.exit("docs: something listens on port 9092 already; stop it first")
    work = tempfile.mkdtemp(prefix="sternpost-docs.")
    os.symlink(os.path.join(ROOT, "target"), os.path.join(work, "target"))
    # A reader's shell has none of these: the server takes STERNPOST_* for settings, the benchmarks and suites for their own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("STERNPOST_")}
    env["CARGO_TERM_QUIET"] = "true"
    env["PATH"] = os.path.join(ROOT, "target", "release") + os.pathsep + env["PATH"]
    server = None
    passed = failed = 0
    try:
        for page in PAGES:
            for kind, code, line in blocks(page):
                if kind == "test":
                    continue
                if kind == "serve":
                    if server:
                        continue
                    command = code.strip() + " --data-dir " + os.path.join(work, "data")
                    server = subprocess.Popen(["bash", "-c", "exec " + command], cwd=ROOT, env=env, start_new_session=True)
                    deadline = time.time() + START_LIMIT_S
                    while not answers(9092):
                        if server.poll() is not None or time.time() > deadline:
                            sys.exit(f"docs: {page}:{line}: the server did not come up")
                        time.sleep(0.05)
                    continue
                run = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
                if run.returncode:
                    failed += 1
                    print(f"FAILED {page}:{line}\n{code}{run.stdout}")
                else:
                    passed += 1
    finally:
        if server:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
    print(f"docs: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
