"""Kills the server with SIGKILL while a producer has rows outstanding, and starts it again, until told to end.

A kill counts only when (a) the server had acknowledged something since its last start, so it was really serving, and
(b) of the rows that the client had been given before the kill, some are still without an answer after it, when the client
has had time to take in the answers that were already on their way. In a cluster the others may have answered by then: there
(b) is that rows were without an answer at the moment of the kill. Other faults of a cluster count like kills. With a majority of
its nodes away nothing may be acknowledged.
"""
import random
import threading
import time

from . import state as st

EARLY_EVERY = 5  # every so many kills the next start is killed too, before it can have finished
NO_ACK_S = 90
ANSWERS_ON_THE_WAY_S = 0.02  # far more than a client needs to read what is left in a loopback socket
SILENCE_S = 0.5  # without a majority: a client that tells of no acknowledgement for so long has told of all that came before
SILENCE_LIMIT_S = 20  # a driver that is behind (kcat prints each row) tells of thousands


class Killer(threading.Thread):
    def __init__(self, server, state, every_s, enough):
        super().__init__(daemon=True)
        self.server, self.state, self.every_s, self.enough = server, state, every_s, enough
        self.counted = self.idle = self.early = 0
        self.start_ms = []  # from the start of the process to its open port
        self.failure = None
        self.ending = threading.Event()
        self.random = random.Random(1)

    def run(self):
        try:
            while not self.ending.is_set():
                self.one()
        except BaseException as e:  # reported by the job, which waits on this thread
            self.failure = f"killer: {e}"

    def end(self):
        """Lets the kill in progress finish; afterwards the server runs."""
        self.ending.set()
        self.join()

    def one(self):
        acked, begin = self.state[st.ACKED], time.monotonic()
        while self.state[st.ACKED] == acked or time.monotonic() - begin < self.every_s:
            if self.ending.wait(0.002):
                return
            if not self.server.alive():
                raise RuntimeError(f"the server ended by itself; see {self.server.log}")
            if time.monotonic() - begin > NO_ACK_S:
                raise TimeoutError(f"no row acknowledged for {NO_ACK_S} s although the server was started again")
        while self.state.outstanding() == 0:
            if self.ending.wait(0.0005):
                return
        given = self.state[st.SENT]
        outstanding = self.state.outstanding()
        self.server.kill()
        time.sleep(ANSWERS_ON_THE_WAY_S)
        if outstanding if self.server.has_others else self.state[st.ACKED] + self.state[st.FAILED] < given:
            self.counted += 1
        else:
            self.idle += 1
        if self.server.has_majority():
            time.sleep(self.server.away_s())
        else:
            self.silence()
        if (self.counted + self.idle) % EARLY_EVERY == 0 and self.server.spawn():
            time.sleep(self.random.uniform(0.0, 0.3))
            self.server.kill()
            self.early += 1
        t = time.monotonic()
        self.server.restart()
        self.start_ms.append(round((time.monotonic() - t) * 1000))
        if self.counted >= self.enough:
            self.state[st.STOP] = 1

    def silence(self):
        """With a majority away: what was acknowledged before has been told soon, and then there is silence until it comes back."""
        began = since = time.monotonic()
        acked = self.state[st.ACKED]
        while time.monotonic() - since < SILENCE_S:
            if time.monotonic() - began > SILENCE_LIMIT_S:
                raise RuntimeError("rows are acknowledged on and on while a majority of the nodes is away")
            if self.state[st.ACKED] != acked:
                acked, since = self.state[st.ACKED], time.monotonic()
            time.sleep(0.002)
        time.sleep(self.server.away_s())
        if self.state[st.ACKED] != acked:
            raise RuntimeError(f"{self.state[st.ACKED] - acked} rows were acknowledged while a majority of the nodes was away")
