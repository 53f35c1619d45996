-- One row per request of the window that has no price yet and that one of the given prices fits: which, and its cost.
-- A price fits what its model served; else what was asked of a provider under the model's name there; else, where
-- not even that is known, what the tenant asked for.
-- Pico-USD per token are split at nano-USD, so that no product leaves 64 bits; rounded once, half up.
SELECT
  e.request_id,
  e.tenant_id,
  e.ended_at,
  e.total_tokens,
  p.model,
  p.price_version,
  e.input_tokens * DIV(p.input_pico, 1000)
    + e.cached_input_tokens * DIV(p.cached_input_pico, 1000)
    + e.cache_write_tokens * DIV(p.cache_write_pico, 1000)
    + e.output_tokens * DIV(p.output_pico, 1000)
    + DIV(
      e.input_tokens * MOD(p.input_pico, 1000)
        + e.cached_input_tokens * MOD(p.cached_input_pico, 1000)
        + e.cache_write_tokens * MOD(p.cache_write_pico, 1000)
        + e.output_tokens * MOD(p.output_pico, 1000)
        + 500,
      1000
    ) AS cost_nano_usd
FROM `${ledger}.usage_events` AS e
INNER JOIN UNNEST(@prices) AS p
  ON e.served_model = p.model
  OR (e.served_model IS NULL AND e.provider_model = p.provider_model)
  OR (e.served_model IS NULL AND e.provider_model IS NULL AND e.model = p.model)
WHERE e.unpriced
  AND e.ended_at >= @window_start AND e.ended_at < @window_end
  AND (@tenant_id = '' OR e.tenant_id = @tenant_id)
QUALIFY ROW_NUMBER() OVER (PARTITION BY e.request_id, e.ended_at ORDER BY p.model) = 1
