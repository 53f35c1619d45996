-- One row per tenant, meter, billing segment, hour and kind of charge: the sum of its usage.
-- Source: usage_events and current_segments. For: sealing, and the warehouse's side of every proof.
-- segment_id is NULL where no segment holds. charge says what may become of the usage: billable, not_billable
-- (the event says so) or unpriced (a plan that charges by cost, and no price was known).
WITH metered AS (
  SELECT
    e.tenant_id,
    m.meter,
    s.segment_id,
    e.usage_hour,
    CASE
      WHEN NOT e.billable THEN 'not_billable'
      WHEN e.unpriced AND s.charge_basis = 'cost' THEN 'unpriced'
      ELSE 'billable'
    END AS charge,
    m.value
  FROM `${ledger}.usage_events` AS e
  LEFT JOIN `${ledger}.current_segments` AS s
    ON s.tenant_id = e.tenant_id AND e.ended_at >= s.starts_at AND e.ended_at < s.ends_at
  CROSS JOIN UNNEST([
    STRUCT('llm_input_tokens' AS meter, e.input_tokens AS value),
    STRUCT('llm_cached_input_tokens' AS meter, e.cached_input_tokens AS value),
    STRUCT('llm_cache_write_tokens' AS meter, e.cache_write_tokens AS value),
    STRUCT('llm_output_tokens' AS meter, e.output_tokens AS value),
    STRUCT('llm_cost_nano_usd' AS meter, e.cost_nano_usd AS value)
  ]) AS m
)
SELECT
  t.tenant_id,
  t.meter,
  t.segment_id,
  t.usage_hour,
  t.charge,
  SUM(t.value) AS value,
  COUNT(*) AS requests
FROM metered AS t
WHERE t.value > 0
GROUP BY t.tenant_id, t.meter, t.segment_id, t.usage_hour, t.charge
