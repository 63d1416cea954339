"""The server under test: started, killed with SIGKILL and started again, as a command or through a peer script.

The contract of both: after `start` and `restart` the port answers; after `kill` no thread of the process runs.
"""
import os
import shlex
import signal
import socket
import subprocess
import time

START_S = 120


class Command:
    """A server started by a command line that stays in the foreground; `{data}` in it is a fresh directory."""

    has_others = False  # that go on while it is killed
    counts = {}  # of faults by kind, where there are several kinds
    lacking_ms = ()  # (from, to): when a majority of nodes was away
    faulted = ()  # (ms, kind) of each, where there are several

    def __init__(self, command, bootstrap, work):
        data = os.path.join(work, "data")
        self.argv = [a.replace("{data}", data) for a in shlex.split(command)]
        self.bootstrap, self.log = bootstrap, os.path.join(work, "server.log")
        self.process = None

    def start(self):
        self.spawn()
        self.wait_until_open()

    restart = start

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    kill_all = kill

    def heal(self):
        """After a job that failed: the server runs for the next one."""
        if not self.alive():
            self.restart()

    def has_majority(self):
        return True

    def away_s(self):
        return 0

    def spawn(self):
        """Starts the process without waiting for its port, for a kill in the middle of its start. Whether there is something to kill."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def alive(self):
        return self.process.poll() is None

    def wait_until_open(self):
        wait_port(self.bootstrap, self.alive, self.log)


class Peer:
    """A server behind a peer script (bench/peers/*.sh), one node."""

    has_others = False
    counts = {}
    lacking_ms = ()
    faulted = ()

    def __init__(self, script, work):
        self.script, self.log = os.path.abspath(script), os.path.join(work, "peer.log")
        self.bootstrap = self.pid = None
        self.env = dict(os.environ)

    def sh(self, *args):
        with open(self.log, "ab") as log:
            done = subprocess.run([self.script, *args], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, env=self.env)
        if done.returncode != 0:
            raise SystemExit(f"{self.script} {' '.join(args)} ended with {done.returncode}; see {self.log}")
        return done.stdout.strip().splitlines()

    def running(self):
        """{node: pid} of the nodes that run."""
        return {int(name.removeprefix("node")): int(pid) for name, pid in (line.split() for line in self.sh("pids"))}

    def find_pid(self):
        self.pid = self.running()[1]

    def start(self):
        self.sh("wipe")
        self.bootstrap = self.sh("start1")[-1]
        self.find_pid()

    def restart(self):
        self.sh("up", "1")
        self.find_pid()

    def spawn(self):
        self.spawn_node(1)
        return True

    def spawn_node(self, node):
        """Starts a node that was killed, without waiting for its port: `pid` is then the new process."""
        starter = subprocess.Popen([self.script, "up", str(node)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, env=self.env)
        old = self.pid
        while self.pid == old:
            time.sleep(0.01)
            self.pid = self.running().get(node, self.pid)
        starter.kill()  # only the script that waits for the port; the server runs in its own session
        starter.wait()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        while lives(self.pid):
            time.sleep(0.001)

    def kill_all(self):
        self.kill()

    def heal(self):
        if not self.alive():
            self.restart()

    def has_majority(self):
        return True

    def away_s(self):
        return 0

    def alive(self):
        return lives(self.pid)

    def stop(self):
        self.sh("stop")

    def wait_until_open(self):
        wait_port(self.bootstrap, self.alive, self.log)


def lives(pid):
    # A killed process whose main thread is a zombie may still have threads, and with them an open port.
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            state = f.read().rpartition(")")[2].split()[0]
        return state not in ("Z", "X") or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_port(bootstrap, alive, log):
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            if alive():  # else another program answers at this address
                return
            raise SystemExit(f"the server ended, and something else answers at {bootstrap}; see {log}")
        except OSError:
            if not alive():
                raise SystemExit(f"the server ended before {bootstrap} answered; see {log}") from None
            if time.monotonic() > deadline:
                raise SystemExit(f"{bootstrap} did not answer within {START_S} s; see {log}") from None
            time.sleep(0.005)
