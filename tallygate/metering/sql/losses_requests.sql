-- Requests that the platform logged as answered on a billed path and that left no usage event, by path and status.
-- Joined by trace: the gateway writes the trace that the platform opened. The tenant is in the admit line of the same
-- trace, where there is one. Counting tokens is not billed; what was refused before it reached a tenant has no event.
WITH answered AS (
  SELECT
    r.trace,
    REGEXP_EXTRACT(r.httpRequest.requestUrl, r'^[a-z]+://[^/]+(?:/v1)?/([a-z_/]+)') AS endpoint,
    MIN(r.timestamp) AS answered_at
  FROM `${raw}.run_googleapis_com_requests` AS r
  WHERE r.timestamp >= @window_start AND r.timestamp < @window_end
    AND r.httpRequest.requestMethod = 'POST'
    AND r.httpRequest.status >= 200 AND r.httpRequest.status < 300
    AND r.trace IS NOT NULL
  GROUP BY r.trace, REGEXP_EXTRACT(r.httpRequest.requestUrl, r'^[a-z]+://[^/]+(?:/v1)?/([a-z_/]+)')
),
lines AS (
  SELECT
    l.trace,
    COUNT(IF(l.jsonPayload.event = 'llm_usage', 1, NULL)) AS events,
    MIN(l.jsonPayload.tenant_id) AS tenant_id
  FROM `${raw}.run_googleapis_com_stdout` AS l
  WHERE l.timestamp >= TIMESTAMP_SUB(@window_start, INTERVAL 1 HOUR)
    AND l.timestamp < TIMESTAMP_ADD(@window_end, INTERVAL 2 HOUR)
    AND l.trace IS NOT NULL
  GROUP BY l.trace
)
SELECT
  COALESCE(l.tenant_id, '') AS tenant_id,
  a.endpoint,
  COUNT(*) AS requests,
  MIN(a.answered_at) AS first_at,
  MAX(a.answered_at) AS last_at,
  MIN(a.trace) AS example
FROM answered AS a
LEFT JOIN lines AS l ON l.trace = a.trace
WHERE a.endpoint IN ('chat/completions', 'completions', 'embeddings', 'messages', 'responses')
  AND COALESCE(l.events, 0) = 0
GROUP BY COALESCE(l.tenant_id, ''), a.endpoint
ORDER BY requests DESC, tenant_id, a.endpoint
