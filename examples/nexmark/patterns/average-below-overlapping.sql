-- The same, from every bid on.
INSERT INTO "average-below-overlapping"
SELECT auction, bidder, start_at, end_at, avg_price
FROM bid MATCH_RECOGNIZE (
    PARTITION BY auction, bidder
    ORDER BY date_time
    MEASURES
        FIRST(A.date_time) AS start_at,
        LAST(A.date_time) AS end_at,
        AVG(A.price) AS avg_price
    ONE ROW PER MATCH
    AFTER MATCH SKIP TO NEXT ROW
    PATTERN (A+ B)
    DEFINE A AS AVG(A.price) < 10000
);
