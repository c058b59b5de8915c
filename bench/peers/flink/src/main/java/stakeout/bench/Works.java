package stakeout.bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.cep.nfa.aftermatch.AfterMatchSkipStrategy;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.cep.pattern.conditions.IterativeCondition;
import org.apache.flink.cep.pattern.conditions.SimpleCondition;

/** The five works as Flink CEP patterns; each applies to the events of one card. */
final class Works {
    private Works() {}

    static List<Pattern<Tx, ?>> of(String work) {
        return switch (work) {
            case "decode" -> List.of();
            case "small_big" -> List.of(smallBig(1, 500));
            case "country_change" -> List.of(countryChange());
            case "card_testing" -> List.of(cardTesting());
            case "rising_triple" -> List.of(risingTriple());
            case "twenty_patterns" -> {
                List<Pattern<Tx, ?>> patterns = new ArrayList<>();
                for (int i = 0; i < 20; i++) patterns.add(smallBig(0.2 + 0.1 * i, 500 + 100 * i));
                yield patterns;
            }
            default -> throw new IllegalArgumentException("unknown work " + work);
        };
    }

    private static Pattern<Tx, ?> smallBig(double low, double high) {
        return begin("small")
                .where(SimpleCondition.of(e -> e.amount < low))
                .followedBy("big")
                .where(SimpleCondition.of(e -> e.amount > high))
                .within(Duration.ofMinutes(10));
    }

    private static Pattern<Tx, ?> countryChange() {
        return begin("first")
                .where(SimpleCondition.of(e -> e.amount > 500))
                .next("second")
                .where(new Against("first") {
                    @Override
                    boolean holds(Tx event, Tx earlier) {
                        return event.country != earlier.country;
                    }
                })
                .within(Duration.ofMinutes(1));
    }

    private static Pattern<Tx, ?> cardTesting() {
        return begin("probe")
                .where(SimpleCondition.of(e -> e.amount < 5))
                .timesOrMore(3)
                .greedy()
                .followedBy("cash")
                .where(new IterativeCondition<>() {
                    @Override
                    public boolean filter(Tx event, Context<Tx> context) throws Exception {
                        double sum = 0;
                        int count = 0;
                        for (Tx probe : context.getEventsForPattern("probe")) {
                            sum += probe.amount;
                            count++;
                        }
                        return event.amount > 50 * (sum / count);
                    }
                })
                .within(Duration.ofMinutes(30));
    }

    private static Pattern<Tx, ?> risingTriple() {
        return begin("a")
                .where(SimpleCondition.of(e -> e.amount > 10))
                .next("b")
                .where(new Rises("a"))
                .next("c")
                .where(new Rises("b"))
                .within(Duration.ofMinutes(10));
    }

    private static Pattern<Tx, Tx> begin(String step) {
        return Pattern.begin(step, AfterMatchSkipStrategy.skipPastLastEvent());
    }

    /** Compares the event with the one that an earlier step took. */
    private abstract static class Against extends IterativeCondition<Tx> {
        private final String step;

        Against(String step) {
            this.step = step;
        }

        abstract boolean holds(Tx event, Tx earlier);

        @Override
        public boolean filter(Tx event, Context<Tx> context) throws Exception {
            return holds(event, context.getEventsForPattern(step).iterator().next());
        }
    }

    private static final class Rises extends Against {
        Rises(String step) {
            super(step);
        }

        @Override
        boolean holds(Tx event, Tx earlier) {
            return event.amount > earlier.amount;
        }
    }
}
