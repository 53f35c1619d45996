-- What giving the prices to the window's usage without one would charge, by tenant and model.
SELECT
  u.tenant_id,
  u.model,
  COUNT(*) AS requests,
  SUM(u.total_tokens) AS total_tokens,
  SUM(u.cost_nano_usd) AS cost_nano_usd
FROM (
${unrated}
) AS u
GROUP BY u.tenant_id, u.model
ORDER BY u.tenant_id, u.model
