-- What the warehouse holds of each tenant's meter and hour of the window, and what is sealed of it.
WITH sides AS (
  SELECT e.tenant_id, m.meter, e.usage_hour, m.value AS used, 0 AS sealed
  FROM `${ledger}.usage_events` AS e
  CROSS JOIN UNNEST([
    STRUCT('llm_input_tokens' AS meter, e.input_tokens AS value),
    STRUCT('llm_cached_input_tokens' AS meter, e.cached_input_tokens AS value),
    STRUCT('llm_cache_write_tokens' AS meter, e.cache_write_tokens AS value),
    STRUCT('llm_output_tokens' AS meter, e.output_tokens AS value),
    STRUCT('llm_cost_nano_usd' AS meter, e.cost_nano_usd AS value)
  ]) AS m
  WHERE e.ended_at >= @window_start AND e.ended_at < @window_end
    AND (@tenant_id = '' OR e.tenant_id = @tenant_id)
  UNION ALL
  SELECT d.tenant_id, d.meter, d.usage_hour, 0 AS used, d.value AS sealed
  FROM `${ledger}.meter_deltas` AS d
  WHERE d.usage_hour >= @window_start AND d.usage_hour < @window_end
    AND (@tenant_id = '' OR d.tenant_id = @tenant_id)
)
SELECT s.tenant_id, s.meter, s.usage_hour, SUM(s.used) AS used, SUM(s.sealed) AS sealed
FROM sides AS s
GROUP BY s.tenant_id, s.meter, s.usage_hour
HAVING SUM(s.used) != 0 OR SUM(s.sealed) != 0
