-- The billing period of a customer at a moment, as its segments say.
SELECT s.tenant_id, s.period_start, s.period_end
FROM `${ledger}.current_segments` AS s
WHERE s.stripe_customer = @stripe_customer AND s.starts_at <= @moment AND s.ends_at > @moment
ORDER BY s.starts_at DESC
LIMIT 1
