-- Requests admitted from @window_start to @window_end that left no usable usage event, by tenant, process and reason.
-- A usage event is looked for until two hours after: the longest request and its drain take less.
WITH admits AS (
  SELECT a.request_id, a.tenant_id, a.stream_id, a.line_timestamp
  FROM `${ledger}.usage_clean` AS a
  WHERE a.event = 'llm_admit' AND a.rejected_reason IS NULL
    AND a.line_timestamp >= @window_start AND a.line_timestamp < @window_end
),
ends AS (
  SELECT u.request_id, COUNT(IF(u.rejected_reason IS NULL, 1, NULL)) AS usable, MIN(u.rejected_reason) AS rejected_reason
  FROM `${ledger}.usage_clean` AS u
  WHERE u.event = 'llm_usage'
    AND u.line_timestamp >= TIMESTAMP_SUB(@window_start, INTERVAL 1 HOUR)
    AND u.line_timestamp < TIMESTAMP_ADD(@window_end, INTERVAL 2 HOUR)
  GROUP BY u.request_id
)
SELECT
  a.tenant_id,
  a.stream_id,
  COALESCE(e.rejected_reason, 'no_usage_event') AS reason,
  COUNT(*) AS requests,
  MIN(a.line_timestamp) AS first_at,
  MAX(a.line_timestamp) AS last_at,
  MIN(a.request_id) AS example
FROM admits AS a
LEFT JOIN ends AS e ON e.request_id = a.request_id
WHERE COALESCE(e.usable, 0) = 0
GROUP BY a.tenant_id, a.stream_id, COALESCE(e.rejected_reason, 'no_usage_event')
ORDER BY requests DESC, a.tenant_id, a.stream_id
