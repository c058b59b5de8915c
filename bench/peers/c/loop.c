/* The limit: four works as hand-written loops over columns in memory, one pass, a few bytes of state a card.
 *
 *     loop WORK --data FOLDER --events N [--passes N]
 *
 * FOLDER holds card.i32 ts.i64 amount.f64 country.i32 (bench/data.py). Prints one line of JSON; seconds is the mean over
 * the passes. Compile with -ffp-contract=off: a fused 0.2 + 0.1 * i moves a threshold and with it the count.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CARDS = 20000, RULES = 20 };
static const int64_t NEVER = INT64_MIN / 2;

typedef struct {
    long n;
    const int32_t *card, *country;
    const int64_t *ts;
    const double *amount;
} Events;

/* Few events look at the instants and countries, so the hardware does not fetch them ahead: ask for it (worth 1.8x). */
enum { AHEAD = 256 };

/* small: amount < 1; then amount > 500 within 10 min. The newest small decides; a match forgets it. */
static long small_big(const Events *e)
{
    static int64_t small_ts[CARDS];
    long matches = 0;
    for (int c = 0; c < CARDS; c++) small_ts[c] = NEVER;
    for (long i = 0; i < e->n; i++) {
        double amount = e->amount[i];
        __builtin_prefetch(&e->ts[i + AHEAD]);
        if (amount < 1) {
            small_ts[e->card[i]] = e->ts[i];
        } else if (amount > 500) {
            int64_t *start = &small_ts[e->card[i]];
            matches += e->ts[i] - *start < 600000;
            *start = NEVER; /* taken, or too old for every later one as well */
        }
    }
    return matches;
}

/* amount > 500; the card's next event in another country within 1 min. The one byte a card stays in the first cache. */
static long country_change(const Events *e)
{
    static uint8_t waits[CARDS];
    static struct { int64_t ts; int32_t country; } seed[CARDS];
    long matches = 0;
    memset(waits, 0, sizeof waits);
    for (long i = 0; i < e->n; i++) {
        int32_t c = e->card[i];
        int starts = e->amount[i] > 500;
        __builtin_prefetch(&e->ts[i + AHEAD]);
        __builtin_prefetch(&e->country[i + AHEAD]);
        if (!(starts | waits[c])) continue;
        if (waits[c] && e->country[i] != seed[c].country && e->ts[i] - seed[c].ts < 60000) {
            matches++;
            starts = 0;
        }
        waits[c] = (uint8_t)starts;
        seed[c].ts = e->ts[i];
        seed[c].country = e->country[i];
    }
    return matches;
}

/* a > 10; the next greater than a; the next greater than that; within 10 min of a.
 * `two` are the starts of the partials that wait for their second and third event; both compare with `last`. */
static long rising_triple(const Events *e)
{
    static struct { double last; int64_t first_ts, second_ts; } state[CARDS];
    long matches = 0;
    for (int c = 0; c < CARDS; c++) state[c].first_ts = state[c].second_ts = NEVER;
    for (long i = 0; i < e->n; i++) {
        int32_t c = e->card[i];
        int64_t ts = e->ts[i];
        double amount = e->amount[i];
        int rises = amount > state[c].last;
        if (rises && ts - state[c].second_ts < 600000) {
            matches++;
            state[c].first_ts = state[c].second_ts = NEVER;
        } else {
            state[c].second_ts = rises ? state[c].first_ts : NEVER;
            state[c].first_ts = amount > 10 ? ts : NEVER;
        }
        state[c].last = amount;
    }
    return matches;
}

/* small_big twenty times: amount < 0.2 + 0.1 i, then amount > 500 + 100 i. */
static long twenty_patterns(const Events *e)
{
    static int64_t small_ts[CARDS][RULES];
    double low[RULES], high[RULES];
    long matches = 0;
    for (int r = 0; r < RULES; r++) {
        low[r] = 0.2 + 0.1 * r;
        high[r] = 500 + 100 * r;
    }
    for (int c = 0; c < CARDS; c++)
        for (int r = 0; r < RULES; r++) small_ts[c][r] = NEVER;
    for (long i = 0; i < e->n; i++) {
        double amount = e->amount[i];
        int64_t *start = small_ts[e->card[i]];
        __builtin_prefetch(&e->ts[i + AHEAD]);
        if (amount < low[RULES - 1]) {
            for (int r = RULES - 1; r >= 0 && amount < low[r]; r--) start[r] = e->ts[i];
        } else if (amount > high[0]) {
            for (int r = 0; r < RULES && amount > high[r]; r++) {
                matches += e->ts[i] - start[r] < 600000;
                start[r] = NEVER;
            }
        }
    }
    return matches;
}

static void *column(const char *folder, const char *name, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    void *data = malloc(bytes);
    if (!file || !data || fread(data, 1, bytes, file) != bytes) {
        fprintf(stderr, "loop: cannot read %zu bytes from %s\n", bytes, path);
        exit(1);
    }
    fclose(file);
    return data;
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; long (*run)(const Events *); } works[] = {
        {"small_big", small_big},
        {"country_change", country_change},
        {"rising_triple", rising_triple},
        {"twenty_patterns", twenty_patterns},
    };
    const char *folder = NULL;
    size_t n = 0;
    int passes = 15;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--data") == 0) folder = argv[i + 1];
        if (strcmp(argv[i], "--events") == 0) n = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--passes") == 0) passes = atoi(argv[i + 1]);
    }
    if (!folder || !n || passes < 1) {
        fprintf(stderr, "usage: loop WORK --data FOLDER --events N [--passes N]\n");
        return 2;
    }
    for (size_t w = 0; w < sizeof works / sizeof *works; w++) {
        if (strcmp(argv[1], works[w].name) != 0) continue;
        Events events = {
            .n = (long)n,
            .card = column(folder, "card.i32", n * 4),
            .country = column(folder, "country.i32", n * 4),
            .ts = column(folder, "ts.i64", n * 8),
            .amount = column(folder, "amount.f64", n * 8),
        };
        double total = 0, best = 1e9, cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        long matches = 0;
        for (int pass = 0; pass < passes; pass++) {
            double start = now(CLOCK_MONOTONIC);
            matches = works[w].run(&events);
            double seconds = now(CLOCK_MONOTONIC) - start;
            total += seconds;
            if (seconds < best) best = seconds;
        }
        double mean = total / passes;
        cpu = (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / passes;
        printf("{\"work\":\"%s\",\"events\":%zu,\"matches\":%ld,\"seconds\":%.6f,\"events_per_s\":%.0f,"
               "\"cpu_seconds\":%.6f,\"passes\":%d,\"best_events_per_s\":%.0f}\n",
               argv[1], n, matches, mean, n / mean, cpu, passes, n / best);
        return 0;
    }
    fprintf(stderr, "loop: unknown work %s\n", argv[1]);
    return 2;
}
