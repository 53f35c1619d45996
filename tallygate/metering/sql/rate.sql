-- Gives the prices to the window's usage without one, each request once. Fenced: only where usage_ratings still
-- holds @ratings rows.
INSERT INTO `${ledger}.usage_ratings` (
  request_id, tenant_id, ended_at, model, price_version, cost_nano_usd, rated_at, run_id
)
SELECT
  u.request_id,
  u.tenant_id,
  u.ended_at,
  u.model,
  u.price_version,
  u.cost_nano_usd,
  @now AS rated_at,
  @run_id AS run_id
FROM (
${unrated}
) AS u
WHERE (
  SELECT COUNT(*) FROM `${ledger}.usage_ratings` AS f WHERE f.ended_at >= TIMESTAMP '1970-01-01 00:00:00+00'
) = @ratings
