#!/usr/bin/env python3
"""Runs the examples of README.md and docs/cli.md as a reader would: every block marked `sh`, in order, each line's failure being
the block's, against the server of the block marked `sh serve` before it. Such a block ends the server before it; a page without
one gets README's first. Blocks marked `sh test` are commands of the test command itself."""
import os, re, signal, socket, subprocess, sys, tempfile, time, urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PAGES = ["README.md", "docs/cli.md"]
HTTP_PORT = 9644
START_LIMIT_S = 600  # the README's command builds first when nothing is built


def blocks(page):
    text = open(os.path.join(ROOT, page)).read()
    for found in re.finditer(r"^```sh([^\n]*)\n(.*?)^```", text, re.M | re.S):
        yield found.group(1).strip(), found.group(2), text[: found.start()].count("\n") + 1


def answers(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def is_ready(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200
    except OSError:
        return False


class Server:
    """What a `sh serve` block starts; ready when each of its nodes is."""

    def __init__(self, code, work, env, where):
        command, directory = code.strip(), work
        if "--data-dir" not in command:
            command, directory = f"{command} --data-dir {work}/data", ROOT
        self.process = subprocess.Popen(["bash", "-c", "exec " + command], cwd=directory, env=env, start_new_session=True)
        nodes = re.search(r"--nodes (\d)", command)
        ports = [HTTP_PORT + at for at in range(int(nodes[1]) if nodes else 1)]
        deadline = time.time() + START_LIMIT_S
        while not all(is_ready(port) for port in ports):
            if self.process.poll() is not None or time.time() > deadline:
                self.stop()
                sys.exit(f"docs: {where}: the server did not come up")
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(90)


def main():
    if answers(9092):
        sys.exit("docs: something listens on port 9092 already; stop it first")
    work = tempfile.mkdtemp(prefix="sternpost-docs.")
    target = os.path.abspath(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"))
    os.symlink(target, os.path.join(work, "target"))
    # A reader's shell has none of these: the server takes STERNPOST_* for settings, the benchmarks and suites for their own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("STERNPOST_")}
    env["CARGO_TERM_QUIET"] = "true"
    env["PATH"] = os.path.join(target, "release") + os.pathsep + env["PATH"]
    server = first = None
    passed = failed = 0
    try:
        for page in PAGES:
            found = list(blocks(page))
            if first and all(kind != "serve" for kind, _, _ in found):
                found.insert(0, first)
            for kind, code, line in found:
                if kind == "serve":
                    first = first or (kind, code, line)
                    if server:
                        server.stop()
                    server = Server(code, work, env, f"{page}:{line}")
                elif kind != "test":
                    run = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
                    if run.returncode:
                        failed += 1
                        print(f"FAILED {page}:{line}\n{code}{run.stdout}")
                    else:
                        passed += 1
    finally:
        if server:
            server.stop()
    print(f"docs: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
