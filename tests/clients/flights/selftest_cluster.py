"""Checks of what is done to a cluster: the ways between nodes, and what must not be acknowledged without a majority."""
import socket
import threading

from . import killer, state as st
from .gaps import longest
from .killer import Killer
from .ways import HOST, Ways

NOTHING_S = 0.2  # nothing came for so long: nothing comes
LIMIT_S = 5
FIRST_PORTS = range(24_000, 32_000, 100)


class Echo(threading.Thread):
    """A node's stand-in: sends back what it gets, one connection after the other."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener = socket.create_server((HOST, port))
        self.accepted = 0
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        try:
            while data := connection.recv(100):
                connection.sendall(data)
        except OSError:
            pass


def ways_with_nodes():
    for first in FIRST_PORTS:
        ports = {node: first + node for node in (1, 2, 3)}
        echoes = []
        try:
            echoes = [Echo(port) for port in ports.values()]
            return Ways(ports), echoes
        except OSError:
            for echo in echoes:
                echo.listener.close()
    raise SystemExit("no ports for the ways' checks")


def comes(connection, seconds):
    """What comes within the time: bytes, nothing (None), or the end (empty)."""
    connection.settimeout(seconds)
    try:
        return connection.recv(100)
    except TimeoutError:
        return None
    except ConnectionError:
        return b""


def echoed(connection, data, seconds=LIMIT_S):
    connection.sendall(data)
    return comes(connection, seconds)


def refused(address):
    try:
        socket.create_connection(address, LIMIT_S).close()
    except ConnectionRefusedError:
        return True
    return False


def ways_hold():
    """{name: whether it holds}"""
    ways, echoes = ways_with_nodes()
    checks = {}

    def dial(i, j):
        return socket.create_connection((HOST, ways.port(i, j)), LIMIT_S)

    try:
        there, back, other = dial(1, 2), dial(2, 1), dial(1, 3)
        checks["open ways pass"] = [echoed(c, b"a") for c in (there, back, other)] == [b"a"] * 3
        ways.cut(2, inward=True, outward=False)
        checks["a cut way holds"] = echoed(there, b"b", NOTHING_S) is None and echoed(back, b"b", NOTHING_S) is None
        checks["others pass"] = echoed(other, b"b") == b"b"
        reached, late = echoes[1].accepted, dial(1, 2)
        checks["a cut way takes, none reaches"] = echoed(late, b"c", NOTHING_S) is None and echoes[1].accepted == reached
        ways.heal(2)
        checks["held bytes come late"] = [comes(c, LIMIT_S) for c in (there, back, late)] == [b"b", b"b", b"c"]
        ways.cut(1)
        ways.cut(2)
        ways.heal(1, others_cut=[2])
        checks["others' cuts stay"] = echoed(there, b"d", NOTHING_S) is None and echoed(other, b"d") == b"d"
        ways.heal(2, broken=True)
        checks["broken ways end"] = comes(there, LIMIT_S) == b"" and echoed(dial(1, 2), b"e") == b"e"
        ways.refuse(2)
        checks["a dead node refuses"] = refused((HOST, ways.port(1, 2))) and echoed(dial(2, 3), b"f") == b"f"
        ways.accept(2)
        checks["and is back"] = echoed(dial(1, 2), b"g") == b"g"
    finally:
        ways.close()
        for echo in echoes:
            echo.listener.close()
    return checks


class Counters(dict):
    def outstanding(self):
        return 1


class Without:
    """A cluster without a majority that acknowledges all the same: `late` rows when there was silence, or row after row."""

    def __init__(self, late=0, on_and_on=False):
        self.late, self.state = late, Counting({st.ACKED: 7}) if on_and_on else Counters({st.ACKED: 7})

    def away_s(self):
        self.state[st.ACKED] += self.late
        return 0


class Counting(Counters):
    """Each look finds one more."""

    def __getitem__(self, slot):
        self[slot] = self.get(slot) + 1
        return self.get(slot)


def is_found(server):
    was = killer.SILENCE_S, killer.SILENCE_LIMIT_S
    killer.SILENCE_S, killer.SILENCE_LIMIT_S = 0.05, 0.2
    try:
        Killer(server, server.state, 1, 1).silence()
    except RuntimeError:
        return True
    finally:
        killer.SILENCE_S, killer.SILENCE_LIMIT_S = was
    return False


def gaps_are_told():
    steady = [(1, ms) for ms in range(0, 1000, 10)]
    hidden = [*steady, (2, 100), (2, 800)]  # the other partition goes on meanwhile
    lacking = [(0, 0), (0, 100), (0, 900), (0, 910)]
    faults = [(50, "kill"), (110, "cut"), (805, "pause")]
    return (longest(steady) == ({"nothing": 10}, 0) and longest(hidden) == ({"nothing": 700}, 0)
            and longest(lacking, [(300, 800)]) == ({"nothing": 200}, 100) and longest(lacking, [(300, 905)]) == ({"nothing": 200}, 5)
            and longest(hidden, (), faults) == ({"nothing": 10, "kill": 10, "cut": 700, "pause": 10}, 0))


def checks():
    return {
        **ways_hold(),
        "an answer without a majority": is_found(Without(late=1)),
        "answer after answer": is_found(Without(on_and_on=True)),
        "silence without one": not is_found(Without()),
        "gaps with and without": gaps_are_told(),
    }
