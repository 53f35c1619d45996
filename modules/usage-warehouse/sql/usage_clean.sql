-- One row per line of the proxy's stdout, however often Cloud Logging delivered it: typed, and checked.
-- Source: the usage sink's tables, and what was taken from the archive (restored_lines).
-- For: usage_events, unrecorded_usage, and the lines that can't be usage (rejected_reason is set), which the reporter
-- copies to rejected_lines.
-- Copies of a line carry the same timestamp, so that the deduplication leaves the partition column free to prune.
WITH delivered AS (
  SELECT
    l.insertId AS insert_id,
    l.timestamp AS line_timestamp,
    l.receiveTimestamp AS received_at,
    l.textPayload AS text_payload,
    l.jsonPayload.event AS event,
    l.jsonPayload.schema_version AS schema_version,
    l.jsonPayload.request_id AS request_id,
    l.jsonPayload.tenant_id AS tenant_id,
    l.jsonPayload.key_id AS key_id,
    l.jsonPayload.model AS model,
    l.jsonPayload.provider_model AS provider_model,
    l.jsonPayload.served_model AS served_model,
    l.jsonPayload.endpoint AS endpoint,
    l.jsonPayload.status AS status,
    l.jsonPayload.http_status AS http_status,
    l.jsonPayload.error_type AS error_type,
    l.jsonPayload.attempts AS attempts,
    l.jsonPayload.price_version AS price_version,
    l.jsonPayload.stream_id AS stream_id,
    l.jsonPayload.seq AS seq,
    l.jsonPayload.billable AS billable,
    l.jsonPayload.unpriced AS unpriced,
    l.jsonPayload.estimated AS estimated,
    l.jsonPayload.input_tokens AS input_tokens,
    l.jsonPayload.cached_input_tokens AS cached_input_tokens,
    l.jsonPayload.cache_write_tokens AS cache_write_tokens,
    l.jsonPayload.output_tokens AS output_tokens,
    l.jsonPayload.total_tokens AS total_tokens,
    l.jsonPayload.cost_nano_usd AS cost_nano_usd
  FROM `${raw}.run_googleapis_com_stdout` AS l
  UNION ALL
  SELECT
    r.insert_id,
    r.line_timestamp,
    r.received_at,
    CAST(NULL AS STRING) AS text_payload,
    r.event,
    r.schema_version,
    r.request_id,
    r.tenant_id,
    r.key_id,
    r.model,
    r.provider_model,
    r.served_model,
    r.endpoint,
    r.status,
    r.http_status,
    r.error_type,
    r.attempts,
    r.price_version,
    r.stream_id,
    r.seq,
    r.billable,
    r.unpriced,
    r.estimated,
    r.input_tokens,
    r.cached_input_tokens,
    r.cache_write_tokens,
    r.output_tokens,
    r.total_tokens,
    r.cost_nano_usd
  FROM `${ledger}.restored_lines` AS r
),
lines AS (
  SELECT
    d.insert_id,
    d.line_timestamp,
    d.received_at,
    d.text_payload,
    d.event,
    d.schema_version,
    d.request_id,
    d.tenant_id,
    d.key_id,
    d.model,
    d.provider_model,
    d.served_model,
    d.endpoint,
    d.status,
    d.http_status,
    d.error_type,
    d.attempts,
    d.price_version,
    d.stream_id,
    d.seq,
    COALESCE(d.billable, TRUE) AS billable,
    COALESCE(d.unpriced, FALSE) AS unpriced,
    COALESCE(d.estimated, FALSE) AS estimated,
    d.input_tokens,
    d.cached_input_tokens,
    d.cache_write_tokens,
    d.output_tokens,
    d.total_tokens,
    d.cost_nano_usd
  FROM delivered AS d
  WHERE d.line_timestamp IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY d.line_timestamp, d.event, COALESCE(d.request_id, d.insert_id)
    ORDER BY d.received_at, d.insert_id
  ) = 1
),
refused AS (
  SELECT
    x.insertId AS insert_id,
    x.timestamp AS line_timestamp,
    x.receiveTimestamp AS received_at,
    REGEXP_EXTRACT(x.logEntry, r'"event": ?"([^"]*)"') AS event,
    REGEXP_EXTRACT(x.logEntry, r'"request_id": ?"([^"]*)"') AS request_id,
    REGEXP_EXTRACT(x.logEntry, r'"tenant_id": ?"([^"]*)"') AS tenant_id
  FROM `${raw}.export_errors` AS x
  WHERE x.timestamp IS NOT NULL AND ENDS_WITH(x.logName, 'run.googleapis.com%2Fstdout')
  QUALIFY ROW_NUMBER() OVER (PARTITION BY x.timestamp, x.insertId ORDER BY x.receiveTimestamp) = 1
),
known_tenants AS (
  SELECT DISTINCT g.tenant_id
  FROM `${ledger}.billing_segments` AS g
),
counts AS (
  SELECT
    l.*,
    k.tenant_id IS NOT NULL AS tenant_known,
    l.event = 'llm_usage' AS is_usage,
    CASE
      WHEN l.input_tokens IS NULL THEN 'input_tokens'
      WHEN l.cached_input_tokens IS NULL THEN 'cached_input_tokens'
      WHEN l.cache_write_tokens IS NULL THEN 'cache_write_tokens'
      WHEN l.output_tokens IS NULL THEN 'output_tokens'
      WHEN l.total_tokens IS NULL THEN 'total_tokens'
      WHEN l.cost_nano_usd IS NULL THEN 'cost_nano_usd'
    END AS missing_field,
    CASE
      WHEN l.input_tokens < 0 THEN 'input_tokens'
      WHEN l.cached_input_tokens < 0 THEN 'cached_input_tokens'
      WHEN l.cache_write_tokens < 0 THEN 'cache_write_tokens'
      WHEN l.output_tokens < 0 THEN 'output_tokens'
      WHEN l.total_tokens < 0 THEN 'total_tokens'
      WHEN REGEXP_CONTAINS(l.cost_nano_usd, r'^-[0-9]+\z') THEN 'cost_nano_usd'
    END AS negative_field,
    -- More than any request can be: 1e9 tokens, 18 digits of nano-USD.
    CASE
      WHEN l.input_tokens > 1000000000 THEN 'input_tokens'
      WHEN l.cached_input_tokens > 1000000000 THEN 'cached_input_tokens'
      WHEN l.cache_write_tokens > 1000000000 THEN 'cache_write_tokens'
      WHEN l.output_tokens > 1000000000 THEN 'output_tokens'
      WHEN l.total_tokens > 4000000000 THEN 'total_tokens'
      WHEN REGEXP_CONTAINS(l.cost_nano_usd, r'^[0-9]{16,}\z') THEN 'cost_nano_usd'
    END AS huge_field,
    CASE
      WHEN l.input_tokens != FLOOR(l.input_tokens) THEN 'input_tokens'
      WHEN l.cached_input_tokens != FLOOR(l.cached_input_tokens) THEN 'cached_input_tokens'
      WHEN l.cache_write_tokens != FLOOR(l.cache_write_tokens) THEN 'cache_write_tokens'
      WHEN l.output_tokens != FLOOR(l.output_tokens) THEN 'output_tokens'
      WHEN l.total_tokens != FLOOR(l.total_tokens) THEN 'total_tokens'
      WHEN REGEXP_CONTAINS(l.cost_nano_usd, r'^-?[0-9]+\.[0-9]+\z') THEN 'cost_nano_usd'
    END AS fractional_field
  FROM lines AS l
  LEFT JOIN known_tenants AS k ON k.tenant_id = l.tenant_id
),
judged AS (
  SELECT
    c.*,
    CASE
      WHEN c.event IS NULL AND c.text_payload IS NOT NULL THEN 'broken_json'
      WHEN c.event IS NULL OR c.event NOT IN ('llm_usage', 'llm_admit') THEN 'unknown_event'
      WHEN c.schema_version IS NULL THEN 'missing_schema_version'
      WHEN c.schema_version > 1 THEN 'future_schema_version'
      WHEN c.schema_version != 1 THEN 'unknown_schema_version'
      WHEN c.request_id IS NULL OR c.request_id = '' THEN 'missing_request_id'
      WHEN c.tenant_id IS NULL OR c.tenant_id = '' THEN 'missing_tenant'
      WHEN NOT c.tenant_known THEN 'unknown_tenant'
      WHEN c.line_timestamp > TIMESTAMP_ADD(c.received_at, INTERVAL 1 DAY) THEN 'timestamp_in_future'
      WHEN NOT c.is_usage THEN NULL
      WHEN c.missing_field IS NOT NULL THEN 'missing_count'
      WHEN c.negative_field IS NOT NULL THEN 'negative_count'
      WHEN c.huge_field IS NOT NULL THEN 'huge_count'
      WHEN c.fractional_field IS NOT NULL THEN 'fractional_count'
      WHEN NOT REGEXP_CONTAINS(c.cost_nano_usd, r'^[0-9]{1,15}\z') THEN 'unreadable_count'
      WHEN c.total_tokens != c.input_tokens + c.cached_input_tokens + c.cache_write_tokens + c.output_tokens
        THEN 'total_mismatch'
    END AS rejected_reason
  FROM counts AS c
)
SELECT
  TO_HEX(SHA256(CONCAT(
    'stdout|', COALESCE(j.insert_id, ''), '|', CAST(UNIX_MICROS(j.line_timestamp) AS STRING), '|', COALESCE(j.event, '')
  ))) AS line_id,
  'stdout' AS source,
  j.insert_id,
  j.line_timestamp,
  j.received_at,
  j.event,
  j.request_id,
  j.tenant_id,
  j.key_id,
  j.model,
  j.provider_model,
  j.served_model,
  j.endpoint,
  j.status,
  SAFE_CAST(j.http_status AS INT64) AS http_status,
  j.error_type,
  SAFE_CAST(j.attempts AS INT64) AS attempts,
  j.price_version,
  j.stream_id,
  SAFE_CAST(j.seq AS INT64) AS seq,
  j.billable,
  j.unpriced,
  j.estimated,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.input_tokens AS INT64), NULL) AS input_tokens,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.cached_input_tokens AS INT64), NULL) AS cached_input_tokens,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.cache_write_tokens AS INT64), NULL) AS cache_write_tokens,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.output_tokens AS INT64), NULL) AS output_tokens,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.total_tokens AS INT64), NULL) AS total_tokens,
  IF(j.is_usage AND j.rejected_reason IS NULL, SAFE_CAST(j.cost_nano_usd AS INT64), NULL) AS cost_nano_usd,
  j.rejected_reason,
  CASE j.rejected_reason
    WHEN 'missing_count' THEN j.missing_field
    WHEN 'negative_count' THEN j.negative_field
    WHEN 'huge_count' THEN j.huge_field
    WHEN 'fractional_count' THEN j.fractional_field
    WHEN 'unreadable_count' THEN 'cost_nano_usd'
    WHEN 'broken_json' THEN CONCAT(CAST(LENGTH(j.text_payload) AS STRING), ' characters of text')
  END AS rejected_detail
FROM judged AS j
UNION ALL
SELECT
  TO_HEX(SHA256(CONCAT(
    'export_errors|', COALESCE(r.insert_id, ''), '|', CAST(UNIX_MICROS(r.line_timestamp) AS STRING), '|', COALESCE(r.event, '')
  ))) AS line_id,
  'export_errors' AS source,
  r.insert_id,
  r.line_timestamp,
  r.received_at,
  r.event,
  r.request_id,
  r.tenant_id,
  CAST(NULL AS STRING) AS key_id,
  CAST(NULL AS STRING) AS model,
  CAST(NULL AS STRING) AS provider_model,
  CAST(NULL AS STRING) AS served_model,
  CAST(NULL AS STRING) AS endpoint,
  CAST(NULL AS STRING) AS status,
  CAST(NULL AS INT64) AS http_status,
  CAST(NULL AS STRING) AS error_type,
  CAST(NULL AS INT64) AS attempts,
  CAST(NULL AS STRING) AS price_version,
  CAST(NULL AS STRING) AS stream_id,
  CAST(NULL AS INT64) AS seq,
  CAST(NULL AS BOOL) AS billable,
  CAST(NULL AS BOOL) AS unpriced,
  CAST(NULL AS BOOL) AS estimated,
  CAST(NULL AS INT64) AS input_tokens,
  CAST(NULL AS INT64) AS cached_input_tokens,
  CAST(NULL AS INT64) AS cache_write_tokens,
  CAST(NULL AS INT64) AS output_tokens,
  CAST(NULL AS INT64) AS total_tokens,
  CAST(NULL AS INT64) AS cost_nano_usd,
  'type_mismatch' AS rejected_reason,
  'a field is of another type than its column' AS rejected_detail
FROM refused AS r
