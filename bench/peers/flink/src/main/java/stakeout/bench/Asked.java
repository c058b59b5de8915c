package stakeout.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.cep.CEP;
import org.apache.flink.cep.functions.PatternProcessFunction;
import org.apache.flink.cep.functions.TimedOutPartialMatchHandler;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/**
 * Answers conformance cases: an array of them per line of standard input, an array of answers per line of standard
 * output. A line is one job in event time, with a stream per key and no watermark before their end.
 *
 * <pre>
 * {"pattern": …, "streams": {key: [{"id", "ts", "kind", "v"}]}}     a case
 * {"results": {key: {"matches": [{step: [id]}], "timeouts": […]}}}  what matched and what timed out
 * {"rejected": reason}                                              Flink takes no such pattern
 * </pre>
 *
 * Where Flink fails on one of them the whole line has no answer but {"failed": reason}. There are patterns on which it
 * never ends; whoever asks has to end the process then.
 */
public final class Asked {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Of each case of the line at hand. Its job runs in this process; only the one task of a case writes its result. */
    private static final List<ObjectNode> RESULTS = new ArrayList<>();

    private Asked() {}

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(JSON.writeValueAsString(answer(JSON.readTree(line))));
            System.out.flush();
        }
    }

    private static JsonNode answer(JsonNode cases) throws Exception {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1);
        ArrayNode answers = JSON.createArrayNode();
        RESULTS.clear();
        try {
            for (JsonNode asked : cases) {
                String refused = add(env, asked);
                if (refused == null) answers.addObject().set("results", RESULTS.get(RESULTS.size() - 1));
                else answers.addObject().put("rejected", refused);
            }
            if (!RESULTS.isEmpty()) env.executeAsync().getJobExecutionResult().get();
            return answers;
        } catch (ExecutionException | StackOverflowError failed) {
            Throwable cause = failed;
            while (cause.getCause() != null) cause = cause.getCause();
            return JSON.createObjectNode().put("failed", cause.toString());
        }
    }

    /** Adds a case to the job; answers why Flink takes no such pattern, or null. */
    private static String add(StreamExecutionEnvironment env, JsonNode asked) {
        List<Seen> events = new ArrayList<>();
        ObjectNode results = JSON.createObjectNode();
        for (Map.Entry<String, JsonNode> stream : asked.get("streams").properties()) {
            ObjectNode result = results.putObject(stream.getKey());
            result.putArray("matches");
            result.putArray("timeouts");
            for (JsonNode event : stream.getValue()) events.add(new Seen(stream.getKey(), event));
        }
        WatermarkStrategy<Seen> byTime =
                WatermarkStrategy.<Seen>noWatermarks().withTimestampAssigner((event, none) -> event.ts);
        DataStream<Seen> stream = env.fromData(events).assignTimestampsAndWatermarks(byTime);
        try {
            CEP.pattern(stream.keyBy(event -> event.key), Documents.pattern(asked.get("pattern")))
                    .process(new Take(RESULTS.size()), Types.STRING)
                    .sinkTo(new DiscardingSink<>());
        } catch (RuntimeException refused) {
            return String.valueOf(refused.getMessage());
        }
        RESULTS.add(results);
        return null;
    }

    /** An event of a case. */
    public static final class Seen {
        public String key;
        public int id;
        public long ts;
        public String kind;
        public int v;

        public Seen() {}

        Seen(String key, JsonNode event) {
            this.key = key;
            id = event.get("id").asInt();
            ts = event.get("ts").asLong();
            kind = event.get("kind").asText();
            v = event.get("v").asInt();
        }
    }

    /** Keeps matches and time-outs; sends nothing on. */
    private static final class Take extends PatternProcessFunction<Seen, String>
            implements TimedOutPartialMatchHandler<Seen> {
        private final int place;

        Take(int place) {
            this.place = place;
        }

        @Override
        public void processMatch(Map<String, List<Seen>> match, Context context, Collector<String> out) {
            keep("matches", match);
        }

        @Override
        public void processTimedOutMatch(Map<String, List<Seen>> match, Context context) {
            keep("timeouts", match);
        }

        private void keep(String kind, Map<String, List<Seen>> match) {
            String key = match.values().iterator().next().get(0).key;
            ObjectNode kept = ((ArrayNode) RESULTS.get(place).get(key).get(kind)).addObject();
            match.forEach((step, events) -> {
                ArrayNode ids = kept.putArray(step);
                events.forEach(event -> ids.add(event.id));
            });
        }
    }
}
