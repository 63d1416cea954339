// The flights job's driver for Java kafka-clients. Verbs and options: see ../README.md.
import java.io.BufferedWriter;
import java.io.RandomAccessFile;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

public final class Flights {
    static final int SENT = 0, ACKED = 1, FAILED = 2, STOP = 3, ASSIGNED = 4, CONSUMED = 5, COMMITS = 6, COMMIT_FAILURES = 7;
    static final long COMMIT_EVERY_NS = TimeUnit.SECONDS.toNanos(1);
    static final long FINAL_COMMIT_NS = TimeUnit.SECONDS.toNanos(60);
    static final String STRING_SERIALIZER = "org.apache.kafka.common.serialization.StringSerializer";
    static final String STRING_DESERIALIZER = "org.apache.kafka.common.serialization.StringDeserializer";

    static final Map<String, String> options = new HashMap<>();

    /** The file of eight u64 slots described in flights/state.py. */
    static final class State {
        private final MappedByteBuffer map;

        State() throws Exception {
            try (RandomAccessFile file = new RandomAccessFile(options.get("state"), "rw")) {
                map = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 64);
                map.order(ByteOrder.LITTLE_ENDIAN);
            }
        }

        void set(int slot, long value) {
            map.putLong(slot * 8, value);
        }

        void add(int slot) {
            set(slot, map.getLong(slot * 8) + 1);
        }

        boolean stopped() {
            return map.getLong(STOP * 8) != 0;
        }
    }

    static Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", options.get("bootstrap"));
        p.put("client.id", "flights-java");
        return p;
    }

    static void create() throws Exception {
        try (Admin admin = Admin.create(common())) {
            NewTopic topic = new NewTopic(options.get("topic"), Optional.of(Integer.parseInt(options.get("partitions"))), Optional.empty());
            admin.createTopics(List.of(topic)).all().get(60, TimeUnit.SECONDS);
        }
    }

    static void pace(long seq, double rate, long started) throws InterruptedException {
        if (rate <= 0 || seq % 50 != 0) {
            return;
        }
        long ahead = (long) (seq / rate * 1e9) - (System.nanoTime() - started);
        if (ahead > 0) {
            TimeUnit.NANOSECONDS.sleep(ahead);
        }
    }

    static void produce() throws Exception {
        List<String> rows;
        try (var lines = Files.lines(Path.of(options.get("rows")), StandardCharsets.US_ASCII)) {
            rows = lines.limit(Long.parseLong(options.get("limit"))).toList();
        }
        Properties p = common();
        p.put("key.serializer", STRING_SERIALIZER);
        p.put("value.serializer", STRING_SERIALIZER);
        p.put("acks", "all");
        p.put("enable.idempotence", "true");
        p.put("compression.type", "zstd");
        p.put("delivery.timeout.ms", "180000");
        p.put("max.block.ms", "180000");
        State state = new State();
        String topic = options.get("topic");
        String head = "{\"client\":\"" + options.get("client") + "\",\"seq\":";
        boolean repeat = "1".equals(options.get("repeat"));
        double rate = Double.parseDouble(options.getOrDefault("rate", "0"));
        try (BufferedWriter acks = Files.newBufferedWriter(Path.of(options.get("acks")));
                KafkaProducer<String, String> producer = new KafkaProducer<>(p)) {
            long started = System.nanoTime();
            for (long seq = 0; seq < rows.size() || (repeat && !state.stopped()); seq++) {
                pace(seq, rate, started);
                String[] row = rows.get((int) (seq % rows.size())).split("\t", 2);
                long sequence = seq;
                state.set(SENT, seq + 1); // before send(): it blocks when the buffer is full, with rows outstanding
                producer.send(new ProducerRecord<>(topic, row[0], head + seq + "," + row[1]), (metadata, error) -> {
                    // All callbacks run on the producer's one I/O thread.
                    if (error != null) {
                        state.add(FAILED);
                        System.err.println("row " + sequence + " failed: " + error);
                        return;
                    }
                    try {
                        acks.write(sequence + " " + metadata.partition() + " " + metadata.offset() + " " + System.currentTimeMillis() + "\n");
                    } catch (java.io.IOException e) {
                        System.err.println("cannot write the acks: " + e);
                        Runtime.getRuntime().halt(1);
                    }
                    state.add(ACKED);
                });
            }
            producer.flush();
        }
    }

    static void write(BufferedWriter out, Iterable<ConsumerRecord<String, String>> records) throws Exception {
        for (ConsumerRecord<String, String> r : records) {
            out.write(r.partition() + "\t" + r.offset() + "\t" + r.key() + "\t" + r.value() + "\n");
        }
        out.flush();
    }

    static Properties consumerProperties() {
        Properties p = common();
        p.put("key.deserializer", STRING_DESERIALIZER);
        p.put("value.deserializer", STRING_DESERIALIZER);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.put("max.poll.records", "2000");
        return p;
    }

    static boolean commit(KafkaConsumer<String, String> consumer, State state) {
        try {
            consumer.commitSync(Duration.ofSeconds(20));
            state.add(COMMITS);
            return true;
        } catch (KafkaException e) {
            state.add(COMMIT_FAILURES);
            System.err.println("commit: " + e);
            return false;
        }
    }

    static void member() throws Exception {
        State state = new State();
        Properties p = consumerProperties();
        p.put("group.id", options.get("group"));
        p.put("session.timeout.ms", "30000");
        Set<TopicPartition> assigned = new HashSet<>();
        try (BufferedWriter out = Files.newBufferedWriter(Path.of(options.get("out")));
                KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p)) {
            consumer.subscribe(List.of(options.get("topic")), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    assigned.addAll(partitions);
                    state.set(ASSIGNED, assigned.size());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    if (!partitions.isEmpty()) {
                        commit(consumer, state);
                    }
                    onPartitionsLost(partitions);
                }

                @Override
                public void onPartitionsLost(Collection<TopicPartition> partitions) {
                    assigned.removeAll(partitions);
                    state.set(ASSIGNED, assigned.size());
                }
            });
            long due = System.nanoTime();
            long count = 0;
            while (!state.stopped()) {
                var records = consumer.poll(Duration.ofMillis(100));
                write(out, records);
                count += records.count();
                state.set(CONSUMED, count);
                if (System.nanoTime() - due >= 0) {
                    commit(consumer, state);
                    due = System.nanoTime() + COMMIT_EVERY_NS;
                }
            }
            long deadline = System.nanoTime() + FINAL_COMMIT_NS;
            while (!commit(consumer, state)) {
                if (System.nanoTime() - deadline > 0) {
                    throw new IllegalStateException("the last commit did not succeed");
                }
                write(out, consumer.poll(Duration.ofMillis(100)));
            }
        }
    }

    static List<TopicPartition> partitions(KafkaConsumer<String, String> consumer) {
        List<TopicPartition> all = new ArrayList<>();
        consumer.partitionsFor(options.get("topic")).forEach(i -> all.add(new TopicPartition(i.topic(), i.partition())));
        return all;
    }

    static void dump() throws Exception {
        try (BufferedWriter out = Files.newBufferedWriter(Path.of(options.get("out")));
                KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consumerProperties())) {
            List<TopicPartition> all = partitions(consumer);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            consumer.assign(all);
            consumer.seekToBeginning(all);
            while (all.stream().anyMatch(t -> consumer.position(t) < ends.get(t))) {
                write(out, consumer.poll(Duration.ofMillis(500)));
            }
        }
    }

    static void offsets() throws Exception {
        try (Admin admin = Admin.create(common())) {
            var description = admin.describeTopics(List.of(options.get("topic"))).allTopicNames().get(60, TimeUnit.SECONDS);
            Map<TopicPartition, OffsetSpec> low = new HashMap<>(), high = new HashMap<>();
            description.get(options.get("topic")).partitions().forEach(i -> {
                TopicPartition t = new TopicPartition(options.get("topic"), i.partition());
                low.put(t, OffsetSpec.earliest());
                high.put(t, OffsetSpec.latest());
            });
            var lows = admin.listOffsets(low).all().get(60, TimeUnit.SECONDS);
            var highs = admin.listOffsets(high).all().get(60, TimeUnit.SECONDS);
            Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(options.get("group"))
                    .partitionsToOffsetAndMetadata().get(60, TimeUnit.SECONDS);
            TreeMap<Integer, String> lines = new TreeMap<>();
            low.keySet().forEach(t -> {
                OffsetAndMetadata c = committed.get(t);
                lines.put(t.partition(), lows.get(t).offset() + " " + highs.get(t).offset() + " " + (c == null ? -1 : c.offset()));
            });
            lines.forEach((partition, line) -> System.out.println(partition + " " + line));
        }
    }

    public static void main(String[] args) throws Exception {
        for (int i = 1; i + 1 < args.length; i += 2) {
            options.put(args[i].substring(2), args[i + 1]);
        }
        switch (args.length == 0 ? "" : args[0]) {
            case "create" -> create();
            case "produce" -> produce();
            case "member" -> member();
            case "dump" -> dump();
            case "offsets" -> offsets();
            default -> {
                System.err.println("usage: Flights create|produce|member|dump|offsets --name value ...");
                System.exit(2);
            }
        }
    }
}
