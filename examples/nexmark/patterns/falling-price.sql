-- A bidder's price falls, and rises again.
INSERT INTO "falling-price"
SELECT auction, bidder, start_at, bottom, bottom_at, end_at
FROM bid MATCH_RECOGNIZE (
    PARTITION BY auction, bidder
    ORDER BY date_time
    MEASURES
        START_ROW.date_time AS start_at,
        LAST(PRICE_DOWN.price) AS bottom,
        LAST(PRICE_DOWN.date_time) AS bottom_at,
        LAST(PRICE_UP.date_time) AS end_at
    ONE ROW PER MATCH
    AFTER MATCH SKIP TO LAST PRICE_UP
    PATTERN (START_ROW PRICE_DOWN+ PRICE_UP)
    DEFINE
        PRICE_DOWN AS
            (LAST(PRICE_DOWN.price, 1) IS NULL AND PRICE_DOWN.price < START_ROW.price)
            OR PRICE_DOWN.price < LAST(PRICE_DOWN.price, 1),
        PRICE_UP AS PRICE_UP.price > LAST(PRICE_DOWN.price)
);
