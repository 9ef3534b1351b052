// Asks a cluster for its nodes over one listener with Java's own client, and prints how many there are, or the class of
// what went wrong:  Listeners <bootstrap> [<key>=<value>]…
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;

public class Listeners {
    public static void main(String[] arguments) throws InterruptedException {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("default.api.timeout.ms", "20000");
        properties.put("request.timeout.ms", "10000");
        for (int i = 1; i < arguments.length; i++) {
            String[] pair = arguments[i].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        try (Admin admin = Admin.create(properties)) {
            System.out.println("nodes " + admin.describeCluster().nodes().get().size());
        } catch (ExecutionException failed) {
            System.out.println(failed.getCause().getClass().getSimpleName());
        }
    }
}
