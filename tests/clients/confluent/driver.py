"""The flights job's driver for Python's confluent-kafka (librdkafka). Verbs and options: see ../README.md."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

from flights import state as st  # noqa: E402
from flights.options import Pace, parse, rows  # noqa: E402

COMMIT_EVERY_S = 1.0
FINAL_COMMIT_S = 60


def common(o):
    # The largest reconnect back-off is lowered from 10 s: a server that is killed every second must still be met alive.
    return {"bootstrap.servers": o["bootstrap"], "reconnect.backoff.max.ms": 500, "client.id": "flights-confluent"}


def create(o):
    topic = NewTopic(o["topic"], num_partitions=int(o["partitions"]), replication_factor=-1)
    admin = AdminClient(common(o))  # it must outlive its futures
    for future in admin.create_topics([topic], operation_timeout=30).values():
        future.result(60)


def produce(o):
    state = st.State(o["state"])
    producer = Producer({
        **common(o), "acks": "all", "enable.idempotence": True, "compression.type": "lz4", "delivery.timeout.ms": 180_000,
        "queue.buffering.max.messages": 20_000,
    })
    acks = open(o["acks"], "w", encoding="ascii")
    counts = {"acked": 0, "failed": 0}

    def delivered(error, message, seq):
        if error is not None:
            counts["failed"] += 1
            state[st.FAILED] = counts["failed"]
            print(f"row {seq} failed: {error}", file=sys.stderr)
            return
        # A row whose own answer was lost counts as written when one behind it is acknowledged: librdkafka tells no offset then.
        offset = -1 if message.offset() is None else message.offset()
        acks.write(f"{seq} {message.partition()} {offset} {round(time.time() * 1000)}\n")
        counts["acked"] += 1
        state[st.ACKED] = counts["acked"]

    pace = Pace(o.get("rate", "0"))
    for seq, key, value in rows(o, lambda: state[st.STOP] != 0):
        pace.wait(seq, producer.poll)
        while True:
            try:
                producer.produce(o["topic"], value, key, on_delivery=lambda e, m, seq=seq: delivered(e, m, seq))
                break
            except BufferError:
                producer.poll(0.05)
        state[st.SENT] = seq + 1
        if seq % 100 == 0:
            producer.poll(0)
    while producer.flush(1.0) > 0:
        pass
    acks.close()


class Member:
    """One member of the consumer group: writes what it reads, commits what it has written."""

    def __init__(self, o):
        self.state = st.State(o["state"])
        self.out = open(o["out"], "w", encoding="ascii")
        self.consumer = Consumer({
            **common(o), "group.id": o["group"], "auto.offset.reset": "earliest", "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 30_000,
        })
        self.assigned, self.count = set(), 0
        self.consumer.subscribe([o["topic"]], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def on_assign(self, _consumer, partitions):
        self.assigned |= {p.partition for p in partitions}
        self.state[st.ASSIGNED] = len(self.assigned)

    def on_revoke(self, _consumer, partitions):
        self.commit()
        self.on_lost(_consumer, partitions)

    def on_lost(self, _consumer, partitions):
        self.assigned -= {p.partition for p in partitions}
        self.state[st.ASSIGNED] = len(self.assigned)

    def commit(self):
        """True when nothing that was read is left uncommitted."""
        self.out.flush()
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as e:
            if e.args[0].code() == KafkaError._NO_OFFSET:
                return True
            self.state[st.COMMIT_FAILURES] += 1
            print(f"commit: {e}", file=sys.stderr)
            return False
        self.state[st.COMMITS] += 1
        return True

    def read(self):
        for m in self.consumer.consume(2000, 0.1):
            if m.error():
                print(f"read: {m.error()}", file=sys.stderr)
                continue
            self.out.write(f"{m.partition()}\t{m.offset()}\t{m.key().decode()}\t{m.value().decode()}\n")
            self.count += 1
        self.out.flush()
        self.state[st.CONSUMED] = self.count

    def run(self):
        due = time.monotonic()
        while self.state[st.STOP] == 0:
            self.read()
            if time.monotonic() >= due:
                self.commit()
                due = time.monotonic() + COMMIT_EVERY_S
        deadline = time.monotonic() + FINAL_COMMIT_S
        while not self.commit():
            if time.monotonic() > deadline:
                raise SystemExit("the last commit did not succeed")
            self.read()
        self.consumer.close()
        self.out.close()


def partitions_of(consumer, topic):
    return sorted(consumer.list_topics(topic, 30).topics[topic].partitions)


def dump(o):
    consumer = Consumer({**common(o), "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True})
    left = set(partitions_of(consumer, o["topic"]))
    consumer.assign([TopicPartition(o["topic"], p, OFFSET_BEGINNING) for p in left])
    with open(o["out"], "w", encoding="ascii") as out:
        while left:
            for m in consumer.consume(2000, 1.0):
                if m.error() is None:
                    out.write(f"{m.partition()}\t{m.offset()}\t{m.key().decode()}\t{m.value().decode()}\n")
                elif m.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(m.partition())
                else:
                    print(f"read: {m.error()}", file=sys.stderr)
    consumer.close()


def offsets(o):
    consumer = Consumer({**common(o), "group.id": o["group"], "enable.auto.commit": False})
    parts = [TopicPartition(o["topic"], p) for p in partitions_of(consumer, o["topic"])]
    for p in consumer.committed(parts, 30):
        low, high = consumer.get_watermark_offsets(p, 30, cached=False)
        print(p.partition, low, high, p.offset if p.offset >= 0 else -1)
    consumer.close()


def main():
    verb, o = parse(sys.argv)
    if verb == "member":
        Member(o).run()
    else:
        {"create": create, "produce": produce, "dump": dump, "offsets": offsets}[verb](o)


if __name__ == "__main__":
    main()
