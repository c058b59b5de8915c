-- A price drops by more than 50 within five seconds.
INSERT INTO "price-drop"
SELECT auction, bidder, drop_at, difference
FROM bid MATCH_RECOGNIZE (
    PARTITION BY auction, bidder
    ORDER BY date_time
    MEASURES
        C.date_time AS drop_at,
        A.price - C.price AS difference
    ONE ROW PER MATCH
    AFTER MATCH SKIP PAST LAST ROW
    PATTERN (A B* C) WITHIN INTERVAL '5' SECOND
    DEFINE
        B AS B.price > A.price - 50,
        C AS C.price < A.price - 50
);
