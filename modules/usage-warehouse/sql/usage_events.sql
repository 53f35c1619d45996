-- One row per finished request, with its token classes and its cost. Source: usage_clean.
-- For: everything that counts usage. Tokens and nano-USD are integers; ended_at decides hour and period.
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
  c.price_version,
  c.billable,
  c.unpriced,
  c.estimated,
  c.input_tokens,
  c.cached_input_tokens,
  c.cache_write_tokens,
  c.output_tokens,
  c.total_tokens,
  c.cost_nano_usd,
  c.stream_id,
  c.seq
FROM `${ledger}.usage_clean` AS c
WHERE c.event = 'llm_usage' AND c.rejected_reason IS NULL
