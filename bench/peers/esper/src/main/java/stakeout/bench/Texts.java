package stakeout.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The works as Esper statements. Forms: `mr` is the plain match_recognize; `mrf` filters first the events that can
 * play a part; `mrf2` filters and names the newest start, not the oldest: the same counts from less state.
 * The window is a condition on the events' own time, so nothing has to advance a clock.
 */
final class Texts {
    private static final String TX = "create objectarray schema Tx(card int, ts long, amount double, country int)";

    private Texts() {}

    static String schema(String work) {
        if (!work.equals("thousand_patterns")) return "@public @buseventtype " + TX;
        String fields = IntStream.range(0, 10).mapToObj(i -> ", f" + i + " double").collect(Collectors.joining());
        return "@public @buseventtype create objectarray schema Tx(card int, ts long" + fields + ")";
    }

    static String bestForm(String work) {
        return switch (work) {
            case "small_big", "thousand_patterns" -> "mrf";
            case "twenty_patterns" -> "mrf2";
            default -> "mr";
        };
    }

    static List<String> statements(String work, String form, String folder) throws IOException {
        return switch (work) {
            case "small_big" -> List.of(smallBig(form, 1, 500));
            case "twenty_patterns" -> IntStream.range(0, 20)
                    .mapToObj(i -> smallBig(form, 0.2 + 0.1 * i, 500 + 100 * i))
                    .toList();
            case "thousand_patterns" -> Files.readAllLines(Path.of(folder, "patterns.txt")).stream()
                    .map(line -> followedBy(line.split("\t")))
                    .toList();
            case "country_change" -> List.of(match("Tx", "s.ts as t0, b.ts as t1", "s b",
                    "s as s.amount > 500, b as b.country != s.country and b.ts - s.ts < 60000"));
            case "card_testing" -> List.of(match("Tx", "f.ts as t0, c.ts as t1", "f (p|x)* c",
                    "f as f.amount < 5, "
                    + "p as p.amount < 5 and p.ts - f.ts < 1800000, "
                    + "x as x.amount >= 5 and x.ts - f.ts < 1800000, "
                    + "c as c.amount >= 5 and c.ts - f.ts < 1800000 and p.countOf() >= 2 "
                    + "and c.amount > 50 * (f.amount + p.sumOf(v => v.amount)) / (1 + p.countOf())"));
            case "rising_triple" -> List.of(match("Tx", "a.ts as t0, c.ts as t1", "a b c",
                    "a as a.amount > 10, "
                    + "b as b.amount > a.amount and b.ts - a.ts < 600000, "
                    + "c as c.amount > b.amount and c.ts - a.ts < 600000"));
            default -> throw new IllegalArgumentException("unknown work " + work);
        };
    }

    private static String smallBig(String form, double low, double high) {
        String some = String.format(Locale.ROOT, "Tx(amount < %s or amount > %s)", low, high);
        String small = "s as s.amount < " + low;
        String big = "b as b.amount > " + high + " and b.ts - s.ts < 600000";
        return switch (form) {
            case "mr" -> smallBig("Tx", "s x* b", small, "x as x.amount <= " + high + " and x.ts - s.ts < 600000", big);
            case "mrf" -> smallBig(some, "s x* b", small, "x as x.amount < " + low + " and x.ts - s.ts < 600000", big);
            case "mrf2" -> smallBig(some, "s b", small, big);
            default -> throw new IllegalArgumentException("unknown form " + form);
        };
    }

    private static String smallBig(String from, String pattern, String... define) {
        return match(from, "s.ts as t0, b.ts as t1", pattern, String.join(", ", define));
    }

    /** Two to four steps: window in ms, then "field op constant" each. Filler x1 skips what step s1 does not take. */
    private static String followedBy(String[] line) {
        List<String> steps = Arrays.asList(line).subList(1, line.length);
        int last = steps.size() - 1;
        String inTime = ".ts - s0.ts < " + line[0];
        StringBuilder pattern = new StringBuilder("s0");
        List<String> define = new ArrayList<>(List.of("s0 as s0." + steps.get(0)));
        for (int i = 1; i <= last; i++) {
            pattern.append(String.format(" x%d* s%d", i, i));
            define.add(String.format("x%d as not (x%d.%s) and x%d%s", i, i, steps.get(i), i, inTime));
            define.add(String.format("s%d as s%d.%s and s%d%s", i, i, steps.get(i), i, inTime));
        }
        String some = "Tx(" + String.join(" or ", steps) + ")";
        return match(some, "s0.ts as t0, s" + last + ".ts as t1", pattern.toString(), String.join(", ", define));
    }

    private static String match(String from, String measures, String pattern, String define) {
        return "select * from " + from + " match_recognize (partition by card measures " + measures
                + " after match skip past last row pattern (" + pattern + ") define " + define + ")";
    }
}
