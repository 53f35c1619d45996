-- One row per finished request, with its token classes and its cost. Source: usage_clean and usage_ratings.
-- For: everything that counts usage. Tokens and nano-USD are integers; ended_at decides hour and period.
-- A request that had no price has the cost of its first rating, from then on; unpriced says that it has none yet.
WITH rated AS (
  SELECT r.request_id, r.ended_at, r.price_version, r.cost_nano_usd
  FROM `${ledger}.usage_ratings` AS r
  WHERE r.request_id IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY r.ended_at, r.request_id ORDER BY r.rated_at, r.price_version) = 1
)
SELECT
  c.request_id,
  c.tenant_id,
  c.line_timestamp AS ended_at,
  TIMESTAMP_TRUNC(c.line_timestamp, HOUR) AS usage_hour,
  c.key_id,
  c.model,
  c.provider_model,
  c.served_model,
  c.endpoint,
  c.status,
  c.http_status,
  c.error_type,
  c.attempts,
  IF(c.unpriced, r.price_version, c.price_version) AS price_version,
  c.billable,
  c.unpriced AND r.request_id IS NULL AS unpriced,
  c.estimated,
  c.input_tokens,
  c.cached_input_tokens,
  c.cache_write_tokens,
  c.output_tokens,
  c.total_tokens,
  IF(c.unpriced, COALESCE(r.cost_nano_usd, c.cost_nano_usd), c.cost_nano_usd) AS cost_nano_usd,
  c.stream_id,
  c.seq
FROM `${ledger}.usage_clean` AS c
LEFT JOIN rated AS r ON r.ended_at = c.line_timestamp AND r.request_id = c.request_id
WHERE c.event = 'llm_usage' AND c.rejected_reason IS NULL
