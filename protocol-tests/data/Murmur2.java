// Makes murmur2-java-4.4.0.txt: for ten thousand keys the hash of Kafka's Java client, made positive, modulo 2520, from
// which the partition follows for every partition count that divides 2520. Run it with Kafka's jars on the class path:
//     java -cp 'target/kafka/4.4.0/*' protocol-tests/data/Murmur2.java > protocol-tests/data/murmur2-java-4.4.0.txt
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class Murmur2 {
    public static void main(String[] arguments) {
        StringBuilder lines = new StringBuilder();
        for (int number = 0; number < 10_000; number++) {
            byte[] key = new byte[number % 41];
            int state = number;
            for (int i = 0; i < key.length; i++) {
                state = state * 1_103_515_245 + 12_345;
                key[i] = (byte) (state >>> 16);
            }
            lines.append(BuiltInPartitioner.partitionForKey(key, 2_520)).append('\n');
        }
        System.out.print(lines);
    }
}
