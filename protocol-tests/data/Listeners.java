// Asks clusters for their nodes with Java's own client. Each line of the input names a bootstrap list and settings
// (key=value), separated by tabs; each line of the output tells how many nodes there are, or the class of what went wrong.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;

public class Listeners {
    public static void main(String[] arguments) throws IOException, InterruptedException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(ask(line.split("\t")));
        }
    }

    private static String ask(String[] words) throws InterruptedException {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", words[0]);
        properties.put("default.api.timeout.ms", "20000");
        properties.put("request.timeout.ms", "10000");
        for (int i = 1; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        try (Admin admin = Admin.create(properties)) {
            return "nodes " + admin.describeCluster().nodes().get().size();
        } catch (ExecutionException failed) {
            return failed.getCause().getClass().getSimpleName();
        }
    }
}
