-- The sealed rows behind a metered invoice line: what is booked for a customer's meter in the line's period.
-- Late rows are of older hours, at most of the 400 days for which usage lines are kept.
SELECT
  p.identifier,
  p.tenant_id,
  p.segment_id,
  p.usage_hour,
  p.booked_at,
  p.late,
  p.correction_id,
  p.value,
  p.delivery,
  p.delivery_reason
FROM `${ledger}.delivery_states` AS p
WHERE p.usage_hour >= TIMESTAMP_SUB(@period_start, INTERVAL 400 DAY) AND p.usage_hour < @period_end
  AND p.disposition = 'billable'
  AND p.stripe_customer = @stripe_customer AND p.meter = @meter
  AND p.booked_at >= @period_start AND p.booked_at < @period_end
ORDER BY p.usage_hour, p.identifier
