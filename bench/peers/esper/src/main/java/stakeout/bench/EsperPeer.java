package stakeout.bench;

import com.espertech.esper.common.client.EPCompiled;
import com.espertech.esper.common.client.EventSender;
import com.espertech.esper.common.client.configuration.Configuration;
import com.espertech.esper.compiler.client.CompilerArguments;
import com.espertech.esper.compiler.client.EPCompilerProvider;
import com.espertech.esper.runtime.client.EPDeployment;
import com.espertech.esper.runtime.client.EPRuntime;
import com.espertech.esper.runtime.client.EPRuntimeProvider;
import com.espertech.esper.runtime.client.EPStatement;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Runs one work on Esper, several passes in one JVM, and prints a line of JSON. A pass is the event loop only, over
 * object-array events made before; each starts from an empty deployment. The seconds are the median of all passes,
 * the first (cold) one among them; cpu_seconds is the median of the loop thread's own CPU time, which a busy machine
 * does not lengthen.
 *
 * <pre>EsperPeer WORK --data FOLDER --events N [--passes N] [--form mr|mrf|mrf2]</pre>
 */
public final class EsperPeer {
    private static final ThreadMXBean CPU = ManagementFactory.getThreadMXBean();
    private static long matches;

    private EsperPeer() {}

    public static void main(String[] args) throws Exception {
        String work = args[0];
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) options.put(args[i], args[i + 1]);
        String folder = options.get("--data");
        int n = Integer.parseInt(options.get("--events"));
        int passes = Integer.parseInt(options.getOrDefault("--passes", "9"));
        String form = options.getOrDefault("--form", Texts.bestForm(work));

        Object[][] events = read(work, folder, n);
        Configuration configuration = configuration();
        EPCompiled compiled = compile(configuration, work, Texts.statements(work, form, folder));
        EPRuntime runtime = EPRuntimeProvider.getRuntime("peer", configuration);
        double[] wall = new double[passes];
        double[] cpu = new double[passes];
        for (int i = 0; i < passes; i++) {
            Deployed deployed = deploy(runtime, compiled);
            long cpuStart = CPU.getCurrentThreadCpuTime();
            long start = System.nanoTime();
            for (Object[] event : events) deployed.sender.sendEvent(event);
            wall[i] = (System.nanoTime() - start) / 1e9;
            cpu[i] = (CPU.getCurrentThreadCpuTime() - cpuStart) / 1e9;
            runtime.getDeploymentService().undeploy(deployed.id);
        }
        print(work, form, n, wall, cpu);
    }

    private static Configuration configuration() {
        Configuration configuration = new Configuration();
        configuration.getRuntime().getThreading().setInternalTimerEnabled(false);
        configuration.getRuntime().getExecution().setDisableLocking(true);
        return configuration;
    }

    private static EPCompiled compile(Configuration configuration, String work, List<String> statements)
            throws Exception {
        String module = Texts.schema(work) + ";\n" + String.join(";\n", statements) + ";\n";
        return EPCompilerProvider.getCompiler().compile(module, new CompilerArguments(configuration));
    }

    private record Deployed(String id, EventSender sender) {}

    private static Deployed deploy(EPRuntime runtime, EPCompiled compiled) throws Exception {
        EPDeployment deployment = runtime.getDeploymentService().deploy(compiled);
        for (EPStatement statement : deployment.getStatements()) {
            statement.addListener((found, gone, source, owner) -> matches += found.length);
        }
        matches = 0;
        return new Deployed(deployment.getDeploymentId(), runtime.getEventService().getEventSender("Tx"));
    }

    private static Object[][] read(String work, String folder, int n) throws IOException {
        boolean thousand = work.equals("thousand_patterns");
        List<String> names = new ArrayList<>(List.of("card.i32", "ts.i64"));
        if (thousand) IntStream.range(0, 10).forEach(i -> names.add("f" + i + ".f64"));
        else names.addAll(List.of("amount.f64", "country.i32"));
        Object[][] events = new Object[n][names.size()];
        for (int column = 0; column < names.size(); column++) {
            String name = names.get(column);
            try (FileChannel file = FileChannel.open(Path.of(folder, name))) {
                ByteBuffer data =
                        file.map(FileChannel.MapMode.READ_ONLY, 0, file.size()).order(ByteOrder.LITTLE_ENDIAN);
                for (int i = 0; i < n; i++) events[i][column] = value(data, name, i);
            }
        }
        return events;
    }

    private static Object value(ByteBuffer data, String name, int i) {
        if (name.endsWith(".i32")) return data.getInt(4 * i);
        if (name.endsWith(".i64")) return data.getLong(8 * i);
        return data.getDouble(8 * i);
    }

    private static void print(String work, String form, int n, double[] wall, double[] cpu) {
        String all = Arrays.stream(wall)
                .mapToObj(s -> String.format(Locale.ROOT, "%.0f", n / s))
                .collect(Collectors.joining(","));
        double median = median(wall);
        System.out.printf(
                Locale.ROOT,
                "{\"work\":\"%s\",\"events\":%d,\"matches\":%d,\"seconds\":%.4f,\"events_per_s\":%.0f,"
                        + "\"cpu_seconds\":%.4f,\"form\":\"%s\",\"first_events_per_s\":%.0f,\"passes_events_per_s\":[%s]}%n",
                work, n, matches, median, n / median, median(cpu), form, n / wall[0], all);
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }
}
