"""librdkafka's part of the outage of stock clients (../README.md): confluent-kafka with its defaults. Verbs and files: see run.py."""
import struct
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

WROTE, READ = struct.Struct(">iiqqq"), struct.Struct(">iiq")


def parse(argv):
    """(verb, {option: value}, {setting of the client: value})"""
    if len(argv) < 2 or len(argv) % 2 != 0:
        raise SystemExit(f"usage: {argv[0]} produce|read --name value ...")
    options, settings = {}, {}
    for name, value in zip(argv[2::2], argv[3::2]):
        if name == "--set":
            key, _, text = value.partition("=")
            settings[key] = text
        else:
            options[name.removeprefix("--")] = value
    return argv[1], options, {**settings, "bootstrap.servers": options["bootstrap"]}


class Stop(threading.Thread):
    """The driver closes our standard input when it has seen enough."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked = False
        self.start()

    def run(self):
        sys.stdin.buffer.read()
        self.asked = True


def produce(options, settings):
    stop = Stop()
    topic, partitions = options["topic"], int(options["partitions"])
    interval_ns, padding = int(float(options["interval-ms"]) * 1e6), bytes(int(options["size"]) - 8)
    producer = Producer(settings)
    with open(options["out"], "wb", buffering=1 << 16) as out:

        def note(error, partition, seq, sent):
            done = time.monotonic_ns()
            if error is not None:
                print(f"partition {partition} record {seq} failed: {error}", file=sys.stderr)
            out.write(WROTE.pack(partition, error is not None, seq, sent, done))

        seq, due = 0, time.monotonic_ns()
        while not stop.asked:
            for partition in range(partitions):
                sent = time.monotonic_ns()
                value = seq.to_bytes(8, "big") + padding
                try:
                    producer.produce(topic, value, partition=partition,
                                     on_delivery=lambda e, _m, p=partition, s=seq, at=sent: note(e, p, s, at))
                except BufferError as error:  # the client's queue is full: its caller would have to wait
                    note(error, partition, seq, sent)
            seq += 1
            # After a stall there is no burst of what was missed: a record late at produce() is not the server's outage.
            due = max(due + interval_ns, time.monotonic_ns())
            while (left := due - time.monotonic_ns()) > 0:
                producer.poll(left / 1e9)  # returns at an acknowledgement, which is noted there and then
        while producer.flush(1.0) > 0:
            pass


def read(options, settings):
    consumer = Consumer({**settings, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True})
    left = set(range(int(options["partitions"])))
    consumer.assign([TopicPartition(options["topic"], p, OFFSET_BEGINNING) for p in left])
    with open(options["out"], "wb", buffering=1 << 16) as out:
        while left:
            for message in consumer.consume(5000, 1.0):
                if message.error() is None:
                    out.write(READ.pack(message.partition(), 0, int.from_bytes(message.value()[:8], "big")))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    print(f"read: {message.error()}", file=sys.stderr)
    consumer.close()


def main():
    verb, options, settings = parse(sys.argv)
    if verb not in ("produce", "read"):
        raise SystemExit(f"unknown verb {verb}")
    {"produce": produce, "read": read}[verb](options, settings)


if __name__ == "__main__":
    main()
