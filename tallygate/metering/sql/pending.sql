-- What may be sent now: billable rows without an answer, oldest first; and the rows that seal @seal_number parked.
-- closes_at is that of the segment in which the row is booked, if it lies ahead of booked_at.
-- What goes on a one-off invoice is not sent: after_close.sql lists it.
SELECT
  p.identifier,
  p.tenant_id,
  p.meter,
  p.usage_hour,
  p.stripe_customer,
  p.value,
  p.booked_at,
  p.sealed_at,
  p.disposition,
  p.disposition_reason,
  p.attempt,
  p.delivery_reason,
  p.maybe_sent,
  p.unknown_since,
  s.closes_at
FROM `${ledger}.delivery_states` AS p
LEFT JOIN `${ledger}.current_segments` AS s
  ON s.tenant_id = p.tenant_id
  AND p.booked_at >= s.starts_at AND p.booked_at < s.ends_at AND p.booked_at < s.closes_at
WHERE p.usage_hour >= @unsent_since
  AND (@tenant_id = '' OR p.tenant_id = @tenant_id)
  AND (
    (p.disposition = 'billable' AND p.delivery IN ('unsent', 'sending'))
    OR (p.disposition = 'parked' AND p.seal_number = @seal_number)
  )
ORDER BY p.booked_at, p.identifier
LIMIT @row_limit
