-- The billable rows of some hours of booking, with where their delivery stands: what a difference can come from.
SELECT
  p.identifier,
  p.tenant_id,
  p.stripe_customer,
  p.meter,
  TIMESTAMP_TRUNC(p.booked_at, HOUR) AS booked_hour,
  p.booked_at,
  p.value,
  p.delivery,
  p.delivery_reason,
  p.attempt,
  p.noted_at,
  p.unknown_since
FROM `${ledger}.delivery_states` AS p
INNER JOIN UNNEST(@hours) AS h
  ON h.stripe_customer = p.stripe_customer
  AND h.meter = p.meter
  AND h.booked_hour = TIMESTAMP_TRUNC(p.booked_at, HOUR)
WHERE p.usage_hour >= @rows_since
  AND p.disposition = 'billable'
  AND p.booked_at >= @window_start AND p.booked_at < @window_end
ORDER BY p.identifier
