import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.zip.CRC32C;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/**
 * Writes record batches with Kafka's own classes, and lists what they hold; also lists batches that somebody else wrote.
 * README.md beside this file says how to run it and what the listing means.
 */
public class Golden {
    static final long TIME = 1_700_000_000_000L;
    static final int LEADER_EPOCH = 9;

    /** The offset at which the next batch starts: all batches together are one partition's log. */
    static long next = 0;
    static final List<ByteBuffer> log = new ArrayList<>();

    public static void main(String[] args) throws IOException {
        if (args.length == 3 && args[0].equals("write")) {
            for (CompressionType type : CompressionType.values()) {
                headers(type);
                timestamps(type);
                keysAndValues(type);
            }
            producers(CompressionType.NONE);
            producers(CompressionType.LZ4);
            markers();
            compacted();
            save(args);
        } else if (args.length == 3 && args[0].equals("write-old")) {
            for (byte magic : new byte[] {RecordBatch.MAGIC_VALUE_V0, RecordBatch.MAGIC_VALUE_V1}) {
                for (CompressionType type : CompressionType.values()) {
                    // It came with batches.
                    if (type != CompressionType.ZSTD) messages(magic, type);
                }
            }
            save(args);
        } else if (args.length == 3 && args[0].equals("verify")) {
            String listed = listing(Files.readAllBytes(Path.of(args[1])));
            String expected = Files.readString(Path.of(args[2]));
            if (!listed.equals(expected)) {
                System.err.println("Java reads something else:\n" + listed);
                System.exit(1);
            }
            System.out.println("Java reads the same: " + listed.lines().count() + " lines");
        } else {
            System.err.println("usage: Golden.java write|write-old|verify BATCHES LISTING");
            System.exit(2);
        }
    }

    static void save(String[] args) throws IOException {
        byte[] all = join();
        Files.write(Path.of(args[1]), all);
        Files.writeString(Path.of(args[2]), listing(all));
        System.out.println(log.size() + " batches, " + all.length + " bytes");
    }

    static void headers(CompressionType type) {
        Header[][] forms = {
            {},
            {header("", "empty name")},
            {header("null value", null)},
            {header("empty value", "")},
            {header("twice", "1"), header("twice", "2"), header("other", "3"), header("twice", "1")},
            {header("größe-名前-🦀", "ünï-値-🦀")},
        };
        for (Header[] form : forms) {
            try (MemoryRecordsBuilder builder = builder(type, TimestampType.CREATE_TIME, TIME)) {
                builder.append(TIME, bytes("key"), bytes("value"), form);
                builder.append(TIME + 1, null, bytes("no headers"));
                builder.append(TIME + 2, bytes("key"), null, form);
                add(builder);
            }
        }
    }

    static void timestamps(CompressionType type) {
        long[][] forms = {
            {TIME, TIME + 1, TIME + 1_000, TIME + 1_000_000_000_000L},
            {TIME, TIME - 1, TIME - 1_000, TIME - 1_000_000_000_000L},
            {TIME, TIME, TIME, TIME},
            {RecordBatch.NO_TIMESTAMP, RecordBatch.NO_TIMESTAMP},
        };
        for (long[] form : forms) {
            try (MemoryRecordsBuilder builder = builder(type, TimestampType.CREATE_TIME, RecordBatch.NO_TIMESTAMP)) {
                for (long timestamp : form) builder.append(timestamp, null, bytes("at " + timestamp));
                add(builder);
            }
        }
        try (MemoryRecordsBuilder builder = builder(type, TimestampType.LOG_APPEND_TIME, TIME + 77)) {
            for (long timestamp : forms[0]) builder.append(timestamp, null, bytes("at " + timestamp));
            add(builder);
        }
    }

    static void keysAndValues(CompressionType type) {
        byte[] noise = new byte[3_000];
        new Random(4711).nextBytes(noise);
        byte[] large = bytes("the quick brown fox jumps over the lazy dog, ".repeat(1_600));
        byte[][][][] forms = {
            {{null, null}, {{}, {}}, {null, {}}, {{}, null}},
            {{bytes("key"), bytes("value")}, {bytes("key"), null}, {null, bytes("value")}},
            {{bytes("large"), large}, {bytes("noise"), noise}, {large, null}},
        };
        for (byte[][][] form : forms) {
            try (MemoryRecordsBuilder builder = builder(type, TimestampType.CREATE_TIME, TIME)) {
                for (byte[][] record : form) builder.append(TIME, record[0], record[1]);
                add(builder);
            }
        }
        // More records than a one-byte number counts.
        try (MemoryRecordsBuilder builder = builder(type, TimestampType.CREATE_TIME, TIME)) {
            for (int i = 0; i < 200; i++) builder.append(TIME + i, bytes("key-" + i), bytes("value-" + i));
            add(builder);
        }
    }

    static void producers(CompressionType type) {
        for (boolean transactional : new boolean[] {false, true}) {
            try (MemoryRecordsBuilder builder = builder(type, TimestampType.CREATE_TIME, TIME)) {
                builder.setProducerState(4_000_000_001L, (short) 7, 2_147_483_646, transactional);
                for (int i = 0; i < 4; i++) builder.append(TIME, null, bytes("sequence wraps " + i));
                add(builder);
            }
        }
    }

    static void markers() {
        for (ControlRecordType type : new ControlRecordType[] {ControlRecordType.COMMIT, ControlRecordType.ABORT}) {
            EndTransactionMarker marker = new EndTransactionMarker(type, 13);
            add(MemoryRecords.withEndTransactionMarker(next, TIME, LEADER_EPOCH, 4_000_000_001L, (short) 7, marker));
        }
        LeaderChangeMessage change = new LeaderChangeMessage().setLeaderId(3);
        add(MemoryRecords.withLeaderChangeMessage(next, TIME, LEADER_EPOCH, ByteBuffer.allocate(512), change));
    }

    /** What the log cleaner leaves: gaps, a batch with no record left, tombstones with a delete horizon. */
    static void compacted() {
        try (MemoryRecordsBuilder builder = builder(CompressionType.ZSTD, TimestampType.CREATE_TIME, TIME)) {
            builder.appendWithOffset(next + 3, TIME, bytes("a"), bytes("after a gap"), new Header[0]);
            builder.appendWithOffset(next + 70, TIME + 5, bytes("b"), bytes("after another"), new Header[0]);
            builder.overrideLastOffset(next + 99);
            add(builder);
        }
        ByteBuffer empty = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        DefaultRecordBatch.writeEmptyHeader(empty, RecordBatch.MAGIC_VALUE_V2, 4_000_000_001L, (short) 7, 40, next,
            next + 19, LEADER_EPOCH, TimestampType.CREATE_TIME, TIME, false, false);
        empty.flip();
        add(MemoryRecords.readableRecords(empty));
        var stream = new org.apache.kafka.common.utils.internals.ByteBufferOutputStream(512);
        try (MemoryRecordsBuilder builder = new MemoryRecordsBuilder(stream, RecordBatch.MAGIC_VALUE_V2,
            Compression.NONE, TimestampType.CREATE_TIME, next, TIME, RecordBatch.NO_PRODUCER_ID,
            RecordBatch.NO_PRODUCER_EPOCH, RecordBatch.NO_SEQUENCE, false, false, LEADER_EPOCH, 512, TIME + 60_000)) {
            builder.append(TIME, bytes("deleted"), null);
            builder.append(TIME + 1, bytes("deleted too"), null);
            add(builder);
        }
    }

    /** Messages of magic 0 or 1, with what the log cleaner leaves of them. */
    static void messages(byte magic, CompressionType type) {
        byte[] large = bytes("the quick brown fox jumps over the lazy dog, ".repeat(100));
        byte[][][] forms = {
            {null, null}, {{}, {}}, {null, {}}, {{}, null}, {bytes("key"), bytes("value")}, {bytes("large"), large}
        };
        for (TimestampType timestamps : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
            try (MemoryRecordsBuilder builder = builder(magic, type, timestamps, TIME + 77)) {
                long time = TIME;
                for (byte[][] message : forms) builder.append(time++, message[0], message[1]);
                add(builder);
            }
            try (MemoryRecordsBuilder builder = builder(magic, type, timestamps, TIME + 77)) {
                builder.append(TIME, null, bytes("alone"));
                add(builder);
            }
            try (MemoryRecordsBuilder builder = builder(magic, type, timestamps, TIME + 77)) {
                builder.appendWithOffset(next + 3, TIME, bytes("a"), bytes("after a gap"), new Header[0]);
                builder.appendWithOffset(next + 70, TIME - 5, bytes("b"), bytes("after another"), new Header[0]);
                add(builder);
            }
        }
    }

    static MemoryRecordsBuilder builder(CompressionType type, TimestampType timestamps, long appendTime) {
        return builder(RecordBatch.MAGIC_VALUE_V2, type, timestamps, appendTime);
    }

    static MemoryRecordsBuilder builder(byte magic, CompressionType type, TimestampType timestamps, long appendTime) {
        return MemoryRecords.builder(ByteBuffer.allocate(1 << 20), magic,
            Compression.of(type).build(), timestamps, next, appendTime, RecordBatch.NO_PRODUCER_ID,
            RecordBatch.NO_PRODUCER_EPOCH, RecordBatch.NO_SEQUENCE, false, LEADER_EPOCH);
    }

    static void add(MemoryRecordsBuilder builder) {
        add(builder.build());
    }

    static void add(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        log.add(buffer);
        for (MutableRecordBatch batch : records.batches()) next = batch.nextOffset();
    }

    static byte[] join() {
        ByteBuffer all = ByteBuffer.allocate(log.stream().mapToInt(ByteBuffer::remaining).sum());
        for (ByteBuffer batch : log) all.put(batch);
        return all.array();
    }

    static String listing(byte[] all) {
        StringBuilder out = new StringBuilder();
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(all)).batches()) {
            batch.ensureValid();
            if (batch instanceof DefaultRecordBatch header) {
                line(out, "batch", batch.baseOffset(), batch.lastOffset(), batch.compressionType().name,
                    batch.timestampType().name, header.baseTimestamp(), batch.maxTimestamp(), batch.partitionLeaderEpoch(),
                    batch.producerId(), batch.producerEpoch(), batch.baseSequence(), batch.isTransactional(),
                    batch.isControlBatch(), batch.deleteHorizonMs().isPresent(), batch.countOrNull());
            } else {
                line(out, "message", batch.magic(), batch.lastOffset(), batch.compressionType().name,
                    batch.timestampType().name, batch.maxTimestamp());
            }
            for (Record record : batch) {
                List<Object> fields = new ArrayList<>(List.of("record", record.offset(), record.timestamp(),
                    text(record.hasKey() ? record.key() : null), text(record.hasValue() ? record.value() : null)));
                for (Header pair : record.headers()) {
                    fields.add(text(ByteBuffer.wrap(bytes(pair.key()))));
                    fields.add(text(pair.value() == null ? null : ByteBuffer.wrap(pair.value())));
                }
                line(out, fields.toArray());
            }
        }
        return out.toString();
    }

    static void line(StringBuilder out, Object... fields) {
        for (int i = 0; i < fields.length; i++) out.append(i == 0 ? "" : "\t").append(fields[i]);
        out.append('\n');
    }

    static String text(ByteBuffer buffer) {
        if (buffer == null) return "null";
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        if (bytes.length <= 64) return "=" + HexFormat.of().formatHex(bytes);
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return "#" + bytes.length + ":" + String.format("%08x", crc.getValue());
    }

    static Header header(String name, String value) {
        return new RecordHeader(name, value == null ? null : bytes(value));
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
