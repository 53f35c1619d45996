-- Missing numbers in the streams of lines: where a line that was written from @window_start to @window_end does not
-- follow the one before it. The line before is looked for up to two days back, lines in between up to two hours on.
-- Lines that were rejected count: they arrived. What a stream lost at its end only its admit lines tell.
WITH arrived AS (
  SELECT c.stream_id, c.seq, MIN(c.line_timestamp) AS line_timestamp, MIN(c.tenant_id) AS tenant_id
  FROM `${ledger}.usage_clean` AS c
  WHERE c.stream_id IS NOT NULL AND c.seq IS NOT NULL
    AND c.line_timestamp >= TIMESTAMP_SUB(@window_start, INTERVAL 48 HOUR)
    AND c.line_timestamp < TIMESTAMP_ADD(@window_end, INTERVAL 2 HOUR)
  GROUP BY c.stream_id, c.seq
),
followed AS (
  SELECT
    a.stream_id,
    a.seq,
    a.line_timestamp,
    a.tenant_id,
    LAG(a.seq) OVER (PARTITION BY a.stream_id ORDER BY a.seq) AS seq_before,
    LAG(a.tenant_id) OVER (PARTITION BY a.stream_id ORDER BY a.seq) AS tenant_before
  FROM arrived AS a
)
SELECT
  f.stream_id,
  f.seq_before,
  f.seq AS seq_after,
  f.seq - f.seq_before - 1 AS missing,
  f.tenant_before,
  f.tenant_id AS tenant_after,
  f.line_timestamp AS found_before
FROM followed AS f
WHERE f.seq - f.seq_before > 1
  AND f.line_timestamp >= @window_start AND f.line_timestamp < @window_end
ORDER BY missing DESC, f.stream_id, f.seq
