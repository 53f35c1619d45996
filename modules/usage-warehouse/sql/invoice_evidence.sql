-- One row per request and meter that is charged: the requests behind an invoice line.
-- Source: usage_events, current_segments and the sealed rows of the request's bucket.
-- Filter by stripe_customer, subscription_item (or price) and ended_at; add up value.
-- bucket_sealed is the whole bucket's sealed value (tenant, meter, segment, hour), not the request's share.
WITH charged AS (
  SELECT
    s.segment_id,
    s.tenant_id,
    s.stripe_customer,
    s.subscription_id,
    s.plan,
    s.period_start,
    s.period_end,
    s.starts_at,
    s.ends_at,
    i.meter,
    i.subscription_item,
    i.price
  FROM `${ledger}.current_segments` AS s
  CROSS JOIN UNNEST(s.items) AS i
),
metered AS (
  SELECT
    e.request_id,
    e.tenant_id,
    e.ended_at,
    e.usage_hour,
    e.key_id,
    e.model,
    e.served_model,
    e.price_version,
    e.status,
    e.estimated,
    m.meter,
    m.value
  FROM `${ledger}.usage_events` AS e
  CROSS JOIN UNNEST([
    STRUCT('llm_input_tokens' AS meter, e.input_tokens AS value),
    STRUCT('llm_cached_input_tokens' AS meter, e.cached_input_tokens AS value),
    STRUCT('llm_cache_write_tokens' AS meter, e.cache_write_tokens AS value),
    STRUCT('llm_output_tokens' AS meter, e.output_tokens AS value),
    STRUCT('llm_cost_nano_usd' AS meter, e.cost_nano_usd AS value)
  ]) AS m
  WHERE e.billable AND m.value > 0
),
sealed AS (
  SELECT
    d.tenant_id,
    d.meter,
    d.segment_id,
    d.usage_hour,
    SUM(d.value) AS value,
    COUNT(*) AS deltas,
    MIN(d.booked_at) AS first_booked_at,
    MAX(d.booked_at) AS last_booked_at,
    COUNTIF(d.late) AS late_deltas
  FROM `${ledger}.meter_deltas` AS d
  WHERE d.disposition = 'billable'
  GROUP BY d.tenant_id, d.meter, d.segment_id, d.usage_hour
)
SELECT
  c.stripe_customer,
  c.subscription_id,
  c.subscription_item,
  c.price,
  c.plan,
  c.period_start,
  c.period_end,
  t.tenant_id,
  t.meter,
  t.usage_hour,
  t.request_id,
  t.ended_at,
  t.key_id,
  t.model,
  t.served_model,
  t.price_version,
  t.status,
  t.estimated,
  t.value,
  c.segment_id,
  d.value AS bucket_sealed,
  d.deltas AS bucket_deltas,
  d.first_booked_at AS bucket_first_booked_at,
  d.last_booked_at AS bucket_last_booked_at,
  d.late_deltas AS bucket_late_deltas
FROM metered AS t
INNER JOIN charged AS c
  ON c.tenant_id = t.tenant_id AND c.meter = t.meter AND t.ended_at >= c.starts_at AND t.ended_at < c.ends_at
LEFT JOIN sealed AS d
  ON d.tenant_id = t.tenant_id AND d.meter = t.meter AND d.segment_id = c.segment_id AND d.usage_hour = t.usage_hour
