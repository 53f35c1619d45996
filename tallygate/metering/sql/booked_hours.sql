-- What the ledger says was sent, by customer, meter and hour of booking, where that is not all confirmed: the hours
-- that a comparison with Stripe's summaries is for. Only what was noted before @as_of counts as not confirmed.
-- tenant_id is the newest of the tenants that booked there; one customer has one tenant.
WITH booked AS (
  SELECT
    p.stripe_customer,
    p.meter,
    TIMESTAMP_TRUNC(p.booked_at, HOUR) AS booked_hour,
    p.tenant_id,
    p.delivery,
    p.value,
    p.noted_at,
    p.unknown_since
  FROM `${ledger}.delivery_states` AS p
  WHERE p.usage_hour >= @rows_since
    AND p.disposition = 'billable'
    AND p.booked_at >= @window_start AND p.booked_at < @window_end
)
SELECT
  b.stripe_customer,
  b.meter,
  b.booked_hour,
  MAX(b.tenant_id) AS tenant_id,
  SUM(IF(b.delivery IN ('sent', 'confirmed'), b.value, 0)) AS ledger_value,
  COUNT(IF(b.delivery = 'sent' AND b.noted_at < @as_of, 1, NULL)) AS unconfirmed,
  COUNT(IF(b.delivery = 'sending' AND b.unknown_since IS NOT NULL, 1, NULL)) AS unknown
FROM booked AS b
GROUP BY b.stripe_customer, b.meter, b.booked_hour
HAVING COUNT(IF(b.delivery = 'sent' AND b.noted_at < @as_of, 1, NULL)) > 0
  OR COUNT(IF(b.delivery = 'sending' AND b.unknown_since < @unknown_before, 1, NULL)) > 0
