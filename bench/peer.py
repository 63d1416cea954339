"""One server behind a peer script, the load program, and the wait for a quiet machine."""
import json
import os
import re
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = os.environ.get("PEERS_HOME") or os.path.expanduser("~/.cache/peers")
LOAD = os.environ.get("LOAD_BIN") or os.path.join(PEERS, "bin", "load")
QUIET_CORES = 0.25  # the machine is quiet when less than this is busy ...
QUIET_SECONDS = 3  # ... for so many seconds in a row


def build():
    """Builds the load program when its source is newer."""
    source = os.path.join(HERE, "load")
    newest = max(os.path.getmtime(os.path.join(source, f)) for f in os.listdir(source))
    if not os.path.exists(LOAD) or os.path.getmtime(LOAD) < newest:
        os.makedirs(os.path.dirname(LOAD), exist_ok=True)
        # tests/clients/install.sh puts a Go there where the system's own is too old.
        tools = os.path.join(HERE, "..", ".tools", "clients", "go", "bin")
        path = (tools + os.pathsep if os.path.exists(tools) else "") + os.environ["PATH"]
        subprocess.check_call(["go", "build", "-o", LOAD, "."], cwd=source, env={**os.environ, "PATH": path})


def seconds(text):
    """'90s' or '2m' as a number of seconds."""
    m = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m)", text)
    if not m:
        raise SystemExit(f"run.py: {text!r} is not a time such as 8s or 1m")
    return float(m[1]) * (60 if m[2] == "m" else 1)


def busy_ticks():
    with open("/proc/stat", encoding="ascii") as f:
        fields = f.readline().split()
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7))


def wait_until_quiet(longest):
    """Seconds waited; negative when the machine did not become quiet in time."""
    os.sync()  # what earlier measurements left dirty is not this one's to write
    began, quiet = time.monotonic(), 0
    while time.monotonic() - began < longest:
        before = busy_ticks()
        time.sleep(1)
        quiet = quiet + 1 if (busy_ticks() - before) / os.sysconf("SC_CLK_TCK") < QUIET_CORES else 0
        if quiet >= QUIET_SECONDS:
            return round(time.monotonic() - began, 1)
    return -round(time.monotonic() - began, 1)


def disk_written_mb():
    """MB written to block devices so far (pgpgout counts KiB)."""
    with open("/proc/vmstat", encoding="ascii") as f:
        for line in f:
            if line.startswith("pgpgout "):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Peer:
    """A server that a script starts and stops."""

    def __init__(self, script, nodes, flush):
        self.script = os.path.abspath(script)
        self.name = os.path.splitext(os.path.basename(script))[0]
        self.nodes, self.flush = nodes, flush
        self.env = {**os.environ, "PEERS_HOME": PEERS, "FLUSH": str(flush)}
        self.boot = None

    def sh(self, *args):
        return subprocess.run([self.script, *map(str, args)], env=self.env, stdout=subprocess.PIPE, text=True, check=True).stdout

    def start(self):
        """Fresh storage, all nodes answering."""
        self.boot = self.sh(f"start{self.nodes}").strip().splitlines()[-1]

    def up(self, node, seconds_max):
        """Starts a node again on its storage. Whether it answers by then is the next measurement's to say: a server may take for ever."""
        try:
            subprocess.run([self.script, "up", str(node)], env=self.env, stdout=subprocess.DEVNULL, timeout=seconds_max)
        except subprocess.TimeoutExpired:
            pass

    def pids(self):
        return [line.split()[1] for line in self.sh("pids").splitlines()]

    def memory(self):
        """Resident memory of each node in MiB: all, anonymous, file-backed."""
        found = []
        for pid in self.pids():
            node = {}
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                for line in f:
                    name, _, value = line.partition(":")
                    if key := {"VmRSS": "rss", "RssAnon": "anon", "RssFile": "file"}.get(name):
                        node[key] = int(value.split()[0]) // 1024
            found.append(node)
        return found

    def started_at(self):
        return os.path.join(PEERS, self.name, "run", "started_at")


def load(peer, command, label, quiet=0, **flags):
    """One run of the load program against a peer; its JSON with what the machine did meanwhile."""
    waited = wait_until_quiet(quiet) if quiet else 0
    argv = [LOAD, command, "-brokers", peer.boot, "-pids", ",".join(peer.pids()), "-label", label]
    argv += [f"-{name.replace('_', '-')}={value}" for name, value in flags.items()]
    before = disk_written_mb()
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    try:
        result = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        result = {"cmd": command, "label": label, "error": f"load ended with {done.returncode}"}
    result["quiet_wait_s"] = waited
    result["disk_written_mb"] = round(disk_written_mb() - before)
    if result.get("server_cpu_s") and result.get("mb_per_s"):
        result["server_cpu_s_per_gb"] = round(result["server_cpu_s"] / (result["mb_per_s"] * result["seconds"] / 1000), 3)
    return result
