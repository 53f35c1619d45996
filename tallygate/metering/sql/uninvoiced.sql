-- What was sent for the billing periods that closed from @closed_since on and before @closed_before, by customer, period
-- and meter, where no line of an invoice was compared for it: no invoice may cover it. Late rows are of older hours, at
-- most of the 400 days for which usage lines are kept.
WITH closed AS (
  SELECT
    s.stripe_customer,
    s.subscription_id,
    s.period_start,
    MAX(s.tenant_id) AS tenant_id,
    MAX(s.closes_at) AS closes_at
  FROM `${ledger}.current_segments` AS s
  WHERE s.stripe_customer IS NOT NULL AND s.closes_at >= @closed_since AND s.closes_at < @closed_before
  GROUP BY s.stripe_customer, s.subscription_id, s.period_start
),
sent AS (
  SELECT
    c.stripe_customer,
    c.subscription_id,
    c.period_start,
    c.tenant_id,
    c.closes_at,
    p.meter,
    SUM(p.value) AS ledger_value,
    MAX(p.booked_at) AS booked_at
  FROM closed AS c
  INNER JOIN `${ledger}.delivery_states` AS p
    ON p.stripe_customer = c.stripe_customer AND p.booked_at >= c.period_start AND p.booked_at < c.closes_at
  WHERE p.usage_hour >= TIMESTAMP_SUB(@closed_since, INTERVAL 400 DAY) AND p.usage_hour < @closed_before
    AND p.disposition = 'billable' AND p.delivery IN ('sent', 'confirmed')
  GROUP BY c.stripe_customer, c.subscription_id, c.period_start, c.tenant_id, c.closes_at, p.meter
  HAVING SUM(p.value) > 0
)
SELECT s.tenant_id, s.stripe_customer, s.subscription_id, s.meter, s.period_start, s.closes_at, s.booked_at, s.ledger_value
FROM sent AS s
LEFT JOIN `${ledger}.reconciliations` AS r
  ON r.kind = 'invoice' AND r.stripe_customer = s.stripe_customer AND r.meter = s.meter
  AND r.window_start <= s.booked_at AND r.window_end > s.booked_at AND r.checked_at >= @closed_since
WHERE r.meter IS NULL
ORDER BY s.stripe_customer, s.period_start, s.meter
