package stakeout.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.cep.nfa.aftermatch.AfterMatchSkipStrategy;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.cep.pattern.WithinType;
import org.apache.flink.cep.pattern.conditions.IterativeCondition;
import stakeout.bench.Asked.Seen;

/**
 * Patterns of the conformance format as Flink's. Conditions follow SQL: of what is unknown, nothing holds. What isn't of
 * the format is an Error: an exception would pass for Flink's refusal.
 */
final class Documents {
    private Documents() {}

    static Pattern<Seen, ?> pattern(JsonNode document) {
        Pattern<Seen, ?> pattern = sequence(document.get("stages"), skip(document.path("skip")));
        return document.has("within_ms") ? pattern.within(millis(document.get("within_ms"))) : pattern;
    }

    private static AfterMatchSkipStrategy skip(JsonNode skip) {
        String stage = skip.path("stage").asText();
        return switch (skip.path("to").asText("no_skip")) {
            case "no_skip" -> AfterMatchSkipStrategy.noSkip();
            case "next" -> AfterMatchSkipStrategy.skipToNext();
            case "past_last" -> AfterMatchSkipStrategy.skipPastLastEvent();
            case "first" -> AfterMatchSkipStrategy.skipToFirst(stage);
            case "last" -> AfterMatchSkipStrategy.skipToLast(stage);
            default -> throw new AssertionError(skip.toString());
        };
    }

    private static Pattern<Seen, Seen> sequence(JsonNode stages, AfterMatchSkipStrategy skip) {
        Pattern<Seen, Seen> pattern = null;
        for (JsonNode stage : stages) {
            pattern = stage.has("group") ? group(pattern, stage, skip) : step(pattern, stage, skip);
            quantify(pattern, stage);
        }
        return pattern;
    }

    private static Pattern<Seen, Seen> group(
            Pattern<Seen, Seen> before, JsonNode stage, AfterMatchSkipStrategy skip) {
        Pattern<Seen, Seen> group = sequence(stage.get("group"), AfterMatchSkipStrategy.noSkip());
        return switch (stage.get("contiguity").asText()) {
            case "begin" -> Pattern.begin(group, skip);
            case "next" -> before.next(group);
            case "followed_by" -> before.followedBy(group);
            case "followed_by_any" -> before.followedByAny(group);
            default -> throw new AssertionError(stage.toString());
        };
    }

    private static Pattern<Seen, Seen> step(Pattern<Seen, Seen> before, JsonNode stage, AfterMatchSkipStrategy skip) {
        String name = stage.get("name").asText();
        Pattern<Seen, Seen> step = switch (stage.get("contiguity").asText()) {
            case "begin" -> Pattern.begin(name, skip);
            case "next" -> before.next(name);
            case "followed_by" -> before.followedBy(name);
            case "followed_by_any" -> before.followedByAny(name);
            case "not_next" -> before.notNext(name);
            case "not_followed_by" -> before.notFollowedBy(name);
            default -> throw new AssertionError(stage.toString());
        };
        step.where(new Condition(stage.get("where")));
        stage.path("or").forEach(other -> step.or(new Condition(other)));
        return step;
    }

    private static void quantify(Pattern<Seen, Seen> pattern, JsonNode stage) {
        if (stage.has("times")) times(pattern, stage.get("times").get(0).asInt(), stage.get("times").get(1));
        String combinations = stage.path("combinations").asText();
        if (combinations.equals("consecutive")) pattern.consecutive();
        if (combinations.equals("allow")) pattern.allowCombinations();
        if (stage.path("greedy").asBoolean()) pattern.greedy();
        if (stage.path("optional").asBoolean()) pattern.optional();
        if (stage.has("until")) pattern.until(new Condition(stage.get("until")));
        if (stage.has("gap_ms")) pattern.within(millis(stage.get("gap_ms")), WithinType.PREVIOUS_AND_CURRENT);
    }

    private static void times(Pattern<Seen, Seen> pattern, int least, JsonNode most) {
        if (!most.isNull() && most.asInt() == least) pattern.times(least);
        else if (!most.isNull()) pattern.times(least, most.asInt());
        else if (least == 1) pattern.oneOrMore();
        else pattern.timesOrMore(least);
    }

    private static Duration millis(JsonNode number) {
        return Duration.ofMillis(number.asLong());
    }

    /** Text, because a condition travels; read when it is first asked. */
    private static final class Condition extends IterativeCondition<Seen> {
        private static final ObjectMapper JSON = new ObjectMapper();
        private final String text;
        private transient JsonNode read;

        Condition(JsonNode condition) {
            text = condition.toString();
        }

        @Override
        public boolean filter(Seen event, Context<Seen> context) throws Exception {
            if (read == null) read = JSON.readTree(text);
            return Boolean.TRUE.equals(holds(read, event, context));
        }

        /** Null for unknown. */
        private static Boolean holds(JsonNode condition, Seen event, Context<Seen> context) throws Exception {
            JsonNode told = condition.elements().next();
            return switch (condition.fieldNames().next()) {
                case "kind" -> told.asText().equals(event.kind);
                case "true" -> true;
                case "cmp" -> compare(
                        value(told.get(0), event, context), told.get(1).asText(), value(told.get(2), event, context));
                case "all" -> among(told, false, event, context);
                case "any" -> among(told, true, event, context);
                case "not" -> {
                    Boolean other = holds(told, event, context);
                    yield other == null ? null : !other;
                }
                default -> throw new AssertionError(condition.toString());
            };
        }

        /** `decisive` if one of them is that, unknown if one of the others is, else the opposite. */
        private static Boolean among(JsonNode parts, Boolean decisive, Seen event, Context<Seen> context)
                throws Exception {
            Boolean found = !decisive;
            for (JsonNode part : parts) {
                Boolean one = holds(part, event, context);
                if (decisive.equals(one)) return one;
                if (one == null) found = null;
            }
            return found;
        }

        private static Boolean compare(Double left, String operator, Double right) {
            if (left == null || right == null) return null;
            return switch (operator) {
                case "<" -> left < right;
                case "<=" -> left <= right;
                case ">" -> left > right;
                case ">=" -> left >= right;
                default -> throw new AssertionError(operator);
            };
        }

        /** Null for unknown. */
        private static Double value(JsonNode expression, Seen event, Context<Seen> context) throws Exception {
            if (expression.isNumber()) return expression.asDouble();
            if (expression.has("agg")) return aggregate(expression, context);
            if (expression.has("field")) return (double) event.v;
            double sum = 0;
            for (JsonNode part : expression.get("add")) {
                Double one = value(part, event, context);
                if (one == null) return null;
                sum += one;
            }
            return sum;
        }

        private static Double aggregate(JsonNode expression, Context<Seen> context) throws Exception {
            List<Integer> taken = new ArrayList<>();
            for (Seen one : context.getEventsForPattern(expression.get("stage").asText())) taken.add(one.v);
            String name = expression.get("agg").asText();
            if (name.equals("count")) return (double) taken.size();
            if (taken.isEmpty()) return null;
            double sum = taken.stream().mapToInt(v -> v).sum();
            return switch (name) {
                case "sum" -> sum;
                case "avg" -> sum / taken.size();
                case "min" -> taken.stream().mapToDouble(v -> v).min().getAsDouble();
                case "max" -> taken.stream().mapToDouble(v -> v).max().getAsDouble();
                case "first" -> (double) taken.get(0);
                case "last" -> (double) taken.get(taken.size() - 1);
                default -> throw new AssertionError(expression.toString());
            };
        }
    }
}
