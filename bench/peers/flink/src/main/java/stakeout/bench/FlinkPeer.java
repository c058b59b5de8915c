package stakeout.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFilterFunction;
import org.apache.flink.cep.CEP;
import org.apache.flink.cep.functions.PatternProcessFunction;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/**
 * Runs one work on Flink CEP in one cold job and prints a line of JSON. Its seconds are the whole of execute(), its
 * cpu_seconds those of all threads meanwhile.
 *
 * <pre>
 * FlinkPeer WORK --data FOLDER --events N [--matches FILE]
 * FlinkPeer WORK --kafka BOOTSTRAP --topic TOPIC [--matches FILE]
 * </pre>
 *
 * A line of FILE is one match: the indexes of its events, comma-separated, after "PATTERN:" where the work has several.
 */
public final class FlinkPeer {
    private static final OperatingSystemMXBean MACHINE =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static PrintWriter matchesFile;

    private FlinkPeer() {}

    public static void main(String[] args) throws Exception {
        String work = args[0];
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) options.put(args[i], args[i + 1]);

        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1);
        env.getConfig().enableObjectReuse();
        env.getConfig().setAutoWatermarkInterval(20); // ms; at the default of 200 more events wait and it is slower
        DataStream<Tx> events = options.containsKey("--kafka") ? kafka(env, options) : columns(env, options);
        open(options.get("--matches"));
        match(events.filter(new Count<>("events")), Works.of(work));

        long cpuStart = MACHINE.getProcessCpuTime();
        long start = System.nanoTime();
        JobExecutionResult result = env.execute(work);
        double seconds = (System.nanoTime() - start) / 1e9;
        double cpu = (MACHINE.getProcessCpuTime() - cpuStart) / 1e9;
        if (matchesFile != null) matchesFile.close();
        print(work, result, seconds, cpu);
    }

    private static DataStream<Tx> columns(StreamExecutionEnvironment env, Map<String, String> options) {
        return env.fromSequence(0, Long.parseLong(options.get("--events")) - 1)
                .map(new Columns(options.get("--data")))
                .assignTimestampsAndWatermarks(monotonous());
    }

    /** The records that the topic holds now; each partition must be in order of time. */
    private static DataStream<Tx> kafka(StreamExecutionEnvironment env, Map<String, String> options) {
        KafkaSource<Tx> source = KafkaSource.<Tx>builder()
                .setBootstrapServers(options.get("--kafka"))
                .setTopics(options.get("--topic"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setValueOnlyDeserializer(new JsonTx())
                .build();
        return env.fromSource(source, monotonous(), "kafka");
    }

    private static WatermarkStrategy<Tx> monotonous() {
        return WatermarkStrategy.<Tx>forMonotonousTimestamps().withTimestampAssigner((tx, kafkaTime) -> tx.ts);
    }

    private static void match(DataStream<Tx> events, List<Pattern<Tx, ?>> patterns) {
        KeyedStream<Tx, Integer> keyed = events.keyBy(tx -> tx.card);
        if (patterns.isEmpty()) events.sinkTo(new DiscardingSink<>());
        for (int i = 0; i < patterns.size(); i++) {
            String prefix = patterns.size() == 1 ? "" : i + ":";
            CEP.pattern(keyed, patterns.get(i))
                    .process(new Take(prefix))
                    .filter(new Count<>("matches"))
                    .sinkTo(new DiscardingSink<>());
        }
    }

    private static void open(String path) throws IOException {
        if (path != null) matchesFile = new PrintWriter(Files.newBufferedWriter(Path.of(path)));
    }

    private static synchronized void write(String prefix, Map<String, List<Tx>> match) {
        String indexes = match.values().stream()
                .flatMap(List::stream)
                .map(tx -> tx.index)
                .sorted()
                .map(String::valueOf)
                .collect(Collectors.joining(","));
        matchesFile.println(prefix + indexes);
    }

    private static void print(String work, JobExecutionResult result, double seconds, double cpu) {
        long events = count(result, "events");
        System.out.printf(
                Locale.ROOT,
                "{\"work\":\"%s\",\"events\":%d,\"matches\":%d,\"seconds\":%.3f,\"events_per_s\":%.0f,"
                        + "\"cpu_seconds\":%.3f}%n",
                work, events, count(result, "matches"), seconds, events / seconds, cpu);
    }

    private static long count(JobExecutionResult result, String name) {
        Long counted = result.getAccumulatorResult(name);
        return counted == null ? 0 : counted;
    }

    /** Lets everything pass and counts it. */
    private static final class Count<T> extends RichFilterFunction<T> {
        private final LongCounter passed = new LongCounter();
        private final String name;

        Count(String name) {
            this.name = name;
        }

        @Override
        public void open(OpenContext context) {
            getRuntimeContext().addAccumulator(name, passed);
        }

        @Override
        public boolean filter(T value) {
            passed.add(1);
            return true;
        }
    }

    /** Hands each match on as the index of its last event. */
    private static final class Take extends PatternProcessFunction<Tx, Integer> {
        private final String prefix;

        Take(String prefix) {
            this.prefix = prefix;
        }

        @Override
        public void processMatch(Map<String, List<Tx>> match, Context context, Collector<Integer> out) {
            if (matchesFile != null) write(prefix, match);
            int last = 0;
            for (List<Tx> step : match.values()) last = Math.max(last, step.get(step.size() - 1).index);
            out.collect(last);
        }
    }
}
