-- The longest runs of bids whose average stays below a price: no two share a bid.
INSERT INTO "average-below"
SELECT auction, bidder, start_at, end_at, avg_price
FROM bid MATCH_RECOGNIZE (
    PARTITION BY auction, bidder
    ORDER BY date_time
    MEASURES
        FIRST(A.date_time) AS start_at,
        LAST(A.date_time) AS end_at,
        AVG(A.price) AS avg_price
    ONE ROW PER MATCH
    AFTER MATCH SKIP PAST LAST ROW
    PATTERN (A+ B)
    DEFINE A AS AVG(A.price) < 10000
);
