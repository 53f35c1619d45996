-- How many ratings there are, ever: the fence of the next ones.
SELECT COUNT(*) AS ratings
FROM `${ledger}.usage_ratings` AS r
WHERE r.ended_at >= TIMESTAMP '1970-01-01 00:00:00+00'
