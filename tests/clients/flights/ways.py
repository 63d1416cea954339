"""The ways between the nodes of a cluster: a TCP relay for each ordered pair, so that nodes can be cut off without root.

Node i reaches node j at `port(i, j)`. A way that is cut takes connections and passes no byte on, as when packets vanish: nothing
is closed and nothing resets. What was sent meanwhile comes late after the end of the cut, or never: `heal` can break the
connections, as a firewall does that has forgotten them. A way to a node that was killed refuses connections, as the dead node's
own port would; nodes take that for evidence.

Not as in a real cut: a new connection comes about (its other end is not reached), and the kernel acknowledges bytes until the
relay's buffers are full, so that what shows a cut to a node is silence alone.
"""
import asyncio
import threading

HOST = "127.0.0.1"
PORT_STEP = 10  # the way of node i to node j lies so far times i above j's own port
READ_BYTES = 1 << 16  # held back at most in a way and direction, beside the kernel's buffers
CALL_S = 10


class Ways:
    """Relays between nodes with the given ports for their peers, {node: port}; all open and passing from the start."""

    def __init__(self, ports):
        self.ports = ports
        self.pairs = [(i, j) for i in ports for j in ports if i != j]
        self.passing, self.listeners, self.connections = {}, {}, {pair: set() for pair in self.pairs}
        self.passed = 0  # bytes
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.open_all())

    def port(self, i, j):
        return self.ports[j] + PORT_STEP * i

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(CALL_S)

    async def open_all(self):
        for pair in self.pairs:
            self.passing[pair] = asyncio.Event()
            self.passing[pair].set()
            await self.listen(pair)

    async def listen(self, pair):
        async def accept(reader, writer):
            await self.relay(pair, reader, writer)

        self.listeners[pair] = await asyncio.start_server(accept, HOST, self.port(*pair))

    async def relay(self, pair, reader, writer):
        """One connection that the first of the pair dialled, until either end closes it."""
        writers = [writer]
        self.connections[pair].add(writer)
        try:
            await self.passing[pair].wait()
            there_reader, there = await asyncio.open_connection(HOST, self.ports[pair[1]])
            writers.append(there)
            self.connections[pair].add(there)
            pumps = [asyncio.ensure_future(self.pump(reader, there, self.passing[pair])),
                     asyncio.ensure_future(self.pump(there_reader, writer, self.passing[pair[::-1]]))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the node is not there: the dialler sees its connection break
        finally:
            for w in writers:
                self.connections[pair].discard(w)
                w.close()

    async def pump(self, reader, writer, passing):
        while data := await reader.read(READ_BYTES):
            await passing.wait()
            writer.write(data)
            await writer.drain()
            self.passed += len(data)

    def cut(self, node, inward=True, outward=True):
        """Nothing reaches the node (inward), nothing comes from it (outward)."""
        self.call(self.do_cut([p for p in self.pairs if (inward and p[1] == node) or (outward and p[0] == node)]))

    async def do_cut(self, pairs):
        for pair in pairs:
            self.passing[pair].clear()

    def heal(self, node, others_cut=(), broken=False):
        """Ends the cuts of the node but on its ways with others that are still cut off; `broken`: and all its connections."""
        self.call(self.do_heal([p for p in self.pairs if node in p and not any(o in p for o in others_cut)], broken))

    async def do_heal(self, pairs, broken):
        for pair in pairs:
            if broken:
                for writer in list(self.connections[pair]):
                    writer.transport.abort()
            self.passing[pair].set()

    def refuse(self, node):
        """The node is about to be killed: no connection to it comes about from now on."""
        self.call(self.do_refuse(node))

    async def do_refuse(self, node):
        for pair in self.pairs:
            if pair[1] == node and pair in self.listeners:
                self.listeners.pop(pair).close()

    def accept(self, node):
        """The node is about to be started again."""
        self.call(self.do_accept(node))

    async def do_accept(self, node):
        for pair in self.pairs:
            if pair[1] == node and pair not in self.listeners:
                await self.listen(pair)

    def close(self):
        self.call(self.do_close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CALL_S)

    async def do_close(self):
        for listener in self.listeners.values():
            listener.close()
        for pair in self.pairs:
            self.passing[pair].set()
            for writer in list(self.connections[pair]):
                writer.transport.abort()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=CALL_S / 2)
