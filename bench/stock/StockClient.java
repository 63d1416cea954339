// Java's part of the outage of stock clients (../README.md): kafka-clients with its defaults. Verbs and files: see run.py.
import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class StockClient {
    static final Map<String, String> options = new HashMap<>();
    static final Properties properties = new Properties();
    static volatile boolean stopped;

    public static void main(String[] args) throws Exception {
        if (args.length % 2 != 1) {
            throw new IllegalArgumentException("usage: StockClient produce|read --name value ...");
        }
        for (int i = 1; i < args.length; i += 2) {
            if (args[i].equals("--set")) {
                String[] pair = args[i + 1].split("=", 2);
                properties.put(pair[0], pair[1]);
            } else {
                options.put(args[i].substring(2), args[i + 1]);
            }
        }
        properties.put("bootstrap.servers", options.get("bootstrap"));
        switch (args[0]) {
            case "produce" -> produce();
            case "read" -> read();
            default -> throw new IllegalArgumentException("unknown verb " + args[0]);
        }
    }

    static DataOutputStream file() throws IOException {
        return new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(Path.of(options.get("out"))), 1 << 16));
    }

    /** The driver closes our standard input when it has seen enough. */
    static void stopAtEndOfInput() {
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                }
            } catch (IOException e) {
                System.err.println("standard input: " + e);
            }
            stopped = true;
        });
        watcher.setDaemon(true);
        watcher.start();
    }

    static void produce() throws Exception {
        stopAtEndOfInput();
        int partitions = Integer.parseInt(options.get("partitions"));
        long interval = (long) (Double.parseDouble(options.get("interval-ms")) * 1e6);
        byte[] padding = new byte[Integer.parseInt(options.get("size"))];
        String topic = options.get("topic");
        try (DataOutputStream out = file();
                KafkaProducer<byte[], byte[]> producer =
                        new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            long due = System.nanoTime();
            for (long seq = 0; !stopped; seq++) {
                for (int partition = 0; partition < partitions; partition++) {
                    byte[] value = padding.clone();
                    ByteBuffer.wrap(value).putLong(0, seq);
                    int to = partition;
                    long number = seq;
                    long sent = System.nanoTime();
                    producer.send(new ProducerRecord<>(topic, to, null, value), (metadata, error) -> {
                        long done = System.nanoTime();
                        if (error != null) {
                            System.err.println("partition " + to + " record " + number + " failed: " + error);
                        }
                        note(out, to, error == null ? 0 : 1, number, sent, done);
                    });
                }
                // After a stall there is no burst of what was missed: a record late at send() is not the server's outage.
                due = Math.max(due + interval, System.nanoTime());
                while (System.nanoTime() < due) {
                    LockSupport.parkNanos(due - System.nanoTime());
                }
            }
            producer.flush();
        }
    }

    /** Called by the client's I/O thread, and by send() for what fails at once. */
    static void note(DataOutputStream out, int partition, int error, long seq, long sent, long done) {
        synchronized (out) {
            try {
                out.writeInt(partition);
                out.writeInt(error);
                out.writeLong(seq);
                out.writeLong(sent);
                out.writeLong(done);
            } catch (IOException e) {
                System.err.println("cannot write " + options.get("out") + ": " + e);
                Runtime.getRuntime().halt(1);
            }
        }
    }

    static void read() throws Exception {
        String topic = options.get("topic");
        List<TopicPartition> all = IntStream.range(0, Integer.parseInt(options.get("partitions")))
                .mapToObj(i -> new TopicPartition(topic, i)).toList();
        properties.put("auto.offset.reset", "earliest");
        try (DataOutputStream out = file();
                KafkaConsumer<byte[], byte[]> consumer =
                        new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            while (!ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    out.writeInt(record.partition());
                    out.writeInt(0);
                    out.writeLong(ByteBuffer.wrap(record.value()).getLong());
                }
            }
        }
    }
}
