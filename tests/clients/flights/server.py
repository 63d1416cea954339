"""The server under test: started, killed with SIGKILL and started again, as a command or through a peer script.

The contract of both: after `start` and `restart` the port answers; after `kill` no thread of the process runs.
"""
import os
import random
import shlex
import signal
import socket
import subprocess
import time

START_S = 120
PAUSE_SHARE = 0.25  # of the faults of a cluster
AWAY_S = (0.2, 2.5)  # how long a node of a cluster is away


class Command:
    """A server started by a command line that stays in the foreground; `{data}` in it is a fresh directory."""

    has_others = False  # that go on while it is killed

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

    def spawn(self):
        """Starts the process without waiting for its port, for a kill in the middle of its start."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

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

    def __init__(self, script, work):
        self.script, self.log = os.path.abspath(script), os.path.join(work, "peer.log")
        self.bootstrap = self.pid = None

    def sh(self, *args):
        with open(self.log, "ab") as log:
            done = subprocess.run([self.script, *args], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{self.script} {' '.join(args)} ended with {done.returncode}; see {self.log}")
        return done.stdout.strip().splitlines()

    def find_pid(self):
        self.pid = int(self.sh("pids")[0].split()[1])

    def start(self):
        self.sh("wipe")
        self.bootstrap = self.sh("start1")[-1]
        self.find_pid()

    def restart(self):
        self.sh("up", "1")
        self.find_pid()

    def spawn(self):
        starter = subprocess.Popen([self.script, "up", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        old = self.pid
        while self.pid == old:
            time.sleep(0.01)
            self.find_pid_or_keep()
        starter.kill()  # only the script that waits for the port; the server runs in its own session
        starter.wait()

    def find_pid_or_keep(self):
        if lines := self.sh("pids"):
            self.pid = int(lines[0].split()[1])

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        while self.alive():
            time.sleep(0.001)

    def alive(self):
        # A killed process whose main thread is a zombie may still have threads, and with them an open port.
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as f:
                state = f.read().rpartition(")")[2].split()[0]
            return state not in ("Z", "X") or len(os.listdir(f"/proc/{self.pid}/task")) > 1
        except (FileNotFoundError, ProcessLookupError):
            return False

    def stop(self):
        self.sh("stop")

    def wait_until_open(self):
        wait_port(self.bootstrap, self.alive, self.log)


class Cluster(Peer):
    """Three nodes behind a peer script. A kill hits one of them by chance, and some are pauses (SIGSTOP) instead."""

    has_others = True

    def __init__(self, script, work):
        super().__init__(script, work)
        self.random = random.Random(2)
        self.victim = self.paused = None
        self.kills = self.pauses = 0

    def start(self):
        self.sh("wipe")
        self.bootstrap = self.sh("start3")[-1]

    def find_pid(self):
        names = dict(line.split() for line in self.sh("pids"))
        self.pid = int(names[f"node{self.victim}"])

    def kill(self):
        self.victim = self.random.randint(1, 3)
        self.find_pid()
        if self.random.random() < PAUSE_SHARE:
            os.kill(self.pid, signal.SIGSTOP)
            self.paused = self.pid
            self.pauses += 1
        else:
            super().kill()
            self.kills += 1

    def go_on(self):
        """The end of a pause; whether there was one."""
        paused, self.paused = self.paused, None
        if paused:
            os.kill(paused, signal.SIGCONT)
        return paused is not None

    def spawn(self):
        if not self.go_on():
            subprocess.run([self.script, "up", str(self.victim)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)

    def restart(self):
        """Brings the node back after it was away for long enough that the others had to replace it."""
        time.sleep(self.random.uniform(*AWAY_S))
        if not self.go_on():
            self.sh("up", str(self.victim))
            self.find_pid()

    def alive(self):
        return self.victim is None or self.paused is not None or super().alive()


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
