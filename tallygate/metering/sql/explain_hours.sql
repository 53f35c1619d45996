-- The requests in some buckets (hour and segment) of a tenant's meter, counted and summed by bucket.
SELECT e.usage_hour, s.segment_id, COUNT(*) AS requests, SUM(
  CASE @meter
    WHEN 'llm_input_tokens' THEN e.input_tokens
    WHEN 'llm_cached_input_tokens' THEN e.cached_input_tokens
    WHEN 'llm_cache_write_tokens' THEN e.cache_write_tokens
    WHEN 'llm_output_tokens' THEN e.output_tokens
    ELSE e.cost_nano_usd
  END
) AS value
FROM `${ledger}.usage_events` AS e
INNER JOIN `${ledger}.current_segments` AS s
  ON s.tenant_id = e.tenant_id AND e.ended_at >= s.starts_at AND e.ended_at < s.ends_at
INNER JOIN UNNEST(@buckets) AS b ON b.usage_hour = e.usage_hour AND b.segment_id = s.segment_id
WHERE e.ended_at >= @window_start AND e.ended_at < @window_end
  AND e.tenant_id = @tenant_id
  AND e.billable
  AND CASE @meter
    WHEN 'llm_input_tokens' THEN e.input_tokens
    WHEN 'llm_cached_input_tokens' THEN e.cached_input_tokens
    WHEN 'llm_cache_write_tokens' THEN e.cache_write_tokens
    WHEN 'llm_output_tokens' THEN e.output_tokens
    ELSE e.cost_nano_usd
  END > 0
GROUP BY e.usage_hour, s.segment_id
