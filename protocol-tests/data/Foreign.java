// Java's own client, told what to do. A request is a line of words separated by tabs, records, each a line, and a line
// with a dot alone; the answer is lines and a dot again, the last of them with "!" and the reason where it failed.
// A record is topic, partition, offset, timestamp, key, value and headers; bytes are in hexadecimal, "-" is null.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Foreign {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final Duration POLL = Duration.ofMillis(50);

    private final String bootstrap;
    private final PrintStream out;
    private final Map<String, KafkaProducer<byte[], byte[]>> transactional = new TreeMap<>();
    private final Map<String, KafkaConsumer<byte[], byte[]>> members = new TreeMap<>();
    private final Admin admin;

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        Foreign foreign = new Foreign(arguments[0], out);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            List<String> records = new ArrayList<>();
            for (String record = in.readLine(); record != null && !record.equals("."); record = in.readLine()) {
                records.add(record);
            }
            try {
                foreign.act(line.split("\t", -1), records);
            } catch (ExecutionException failed) {
                out.println("!" + oneLine(failed.getCause()));
            } catch (Exception failed) {
                out.println("!" + oneLine(failed));
            }
            out.println(".");
            out.flush();
        }
    }

    private static String oneLine(Throwable failure) {
        return failure.toString().replace('\n', ' ');
    }

    private Foreign(String bootstrap, PrintStream out) {
        this.bootstrap = bootstrap;
        this.out = out;
        admin = Admin.create(client());
    }

    private void act(String[] words, List<String> records) throws Exception {
        switch (words[0]) {
            case "produce" -> {
                try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", words[1]))) {
                    send(producer, records);
                }
            }
            case "begin" -> {
                if (!transactional.containsKey(words[1])) {
                    KafkaProducer<byte[], byte[]> producer = producer(Map.of("transactional.id", words[1]));
                    transactional.put(words[1], producer);
                    producer.initTransactions();
                }
                transactional.get(words[1]).beginTransaction();
            }
            case "send" -> send(transactional.get(words[1]), records);
            case "commit" -> transactional.get(words[1]).commitTransaction();
            case "abort" -> transactional.get(words[1]).abortTransaction();
            case "read" -> read(new TopicPartition(words[1], Integer.parseInt(words[2])), Integer.parseInt(words[3]));
            case "join" -> {
                KafkaConsumer<byte[], byte[]> member = consumer(Map.of("group.id", words[2]));
                members.put(words[1], member);
                member.subscribe(List.of(words[3]));
            }
            case "poll" -> poll(words[1].split(","), Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            case "leave" -> members.remove(words[1]).close();
            case "committed" -> committed(words[1]);
            case "create" -> {
                NewTopic topic = new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1);
                admin.createTopics(List.of(topic)).all().get();
            }
            case "describe" -> describe(words[1]);
            case "list" -> new TreeSet<>(admin.listTopics().names().get()).forEach(out::println);
            case "delete" -> admin.deleteTopics(List.of(words[1])).all().get();
            case "nodes" -> out.println(admin.describeCluster().nodes().get().size());
            default -> throw new IllegalArgumentException("unknown command " + words[0]);
        }
    }

    private Map<String, Object> client() {
        Map<String, Object> properties = new TreeMap<>();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("default.api.timeout.ms", "30000");
        return properties;
    }

    private KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> properties = client();
        properties.remove("default.api.timeout.ms");
        properties.put("linger.ms", "5");
        properties.put("enable.idempotence", "true");
        properties.putAll(more);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Sends the records, and fails when one is acknowledged with another offset than it has. */
    private void send(KafkaProducer<byte[], byte[]> producer, List<String> records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (String line : records) {
            String[] fields = line.split("\t", -1);
            List<Header> headers = new ArrayList<>();
            for (String header : fields[6].isEmpty() ? new String[0] : fields[6].split(",", -1)) {
                String[] pair = header.split("=", -1);
                headers.add(new RecordHeader(new String(bytes(pair[0]), StandardCharsets.UTF_8), bytes(pair[1])));
            }
            sent.add(producer.send(new ProducerRecord<>(fields[0], Integer.valueOf(fields[1]),
                Long.valueOf(fields[3]), bytes(fields[4]), bytes(fields[5]), headers)));
        }
        for (int i = 0; i < sent.size(); i++) {
            long offset = sent.get(i).get().offset();
            if (offset != Long.parseLong(records.get(i).split("\t", -1)[2])) {
                throw new IllegalStateException("offset " + offset + " for " + records.get(i));
            }
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> more) {
        Map<String, Object> properties = client();
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        // As librdkafka does by default.
        properties.put("isolation.level", "read_committed");
        properties.put("group.protocol", "classic");
        properties.put("heartbeat.interval.ms", "100");
        // A consumer that is closed waits for the answer to its fetch.
        properties.put("fetch.max.wait.ms", "50");
        properties.putAll(more);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void read(TopicPartition partition, int count) throws TimeoutException {
        try (KafkaConsumer<byte[], byte[]> reader = consumer(Map.of())) {
            reader.assign(List.of(partition));
            reader.seekToBeginning(List.of(partition));
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            for (int seen = 0; seen < count;) {
                ConsumerRecords<byte[], byte[]> records = reader.poll(POLL);
                records.forEach(record -> out.println(line(record)));
                seen += records.count();
                giveUpAfter(deadline, seen + " records");
            }
        }
    }

    /** Polls all of these members until so many records came in all and each has so many partitions; what came, with
     * the member's name before it, is committed at once. */
    private void poll(String[] names, int count, int share) throws TimeoutException {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        int seen = 0;
        boolean shared = false;
        while (seen < count || !shared) {
            shared = true;
            for (String name : names) {
                KafkaConsumer<byte[], byte[]> member = members.get(name);
                ConsumerRecords<byte[], byte[]> records = member.poll(POLL);
                records.forEach(record -> out.println(name + "\t" + line(record)));
                seen += records.count();
                if (!records.isEmpty()) {
                    member.commitSync();
                }
                shared &= member.assignment().size() == share;
            }
            giveUpAfter(deadline, seen + " records, shares " + (shared ? "right" : "wrong"));
        }
    }

    private static void giveUpAfter(long deadline, String seen) throws TimeoutException {
        if (System.nanoTime() > deadline) {
            throw new TimeoutException(seen);
        }
    }

    /** What the group has committed for the partitions that the members have. */
    private void committed(String group) throws Exception {
        Set<TopicPartition> all = new HashSet<>();
        members.values().forEach(member -> all.addAll(member.assignment()));
        try (KafkaConsumer<byte[], byte[]> asker = consumer(Map.of("group.id", group))) {
            asker.committed(all).entrySet().stream()
                .map(entry -> entry.getKey().partition() + "\t" + entry.getValue().offset())
                .sorted().forEach(out::println);
        }
    }

    private void describe(String name) throws Exception {
        TopicDescription topic = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
        for (TopicPartitionInfo partition : topic.partitions()) {
            out.println(partition.partition() + "\t" + partition.leader().id() + "\t" + partition.replicas().size());
        }
    }

    private static String line(ConsumerRecord<byte[], byte[]> record) {
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(hex(header.key().getBytes(StandardCharsets.UTF_8)) + "=" + hex(header.value()));
        }
        return String.join("\t", record.topic(), Integer.toString(record.partition()), Long.toString(record.offset()),
            Long.toString(record.timestamp()), hex(record.key()), hex(record.value()), String.join(",", headers));
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "-" : HexFormat.of().formatHex(bytes);
    }

    private static byte[] bytes(String hex) {
        return hex.equals("-") ? null : HexFormat.of().parseHex(hex);
    }
}
