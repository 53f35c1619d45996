-- What arrived after the last invoice of a tenant that has no open period: rows that are parked for that reason, and rows
-- that are decided for a one-off invoice and not confirmed to be on it. Hours of usage of @rows_since and later.
-- price is that of the item which bills the meter in the row's segment; changed_at is when the row last changed.
WITH open_segments AS (
  SELECT DISTINCT o.tenant_id
  FROM `${ledger}.current_segments` AS o
  WHERE o.starts_at <= @now AND o.ends_at > @now
),
prices AS (
  SELECT s.segment_id, i.meter, MIN(i.price) AS price
  FROM `${ledger}.current_segments` AS s
  CROSS JOIN UNNEST(s.items) AS i
  GROUP BY s.segment_id, i.meter
)
SELECT
  p.identifier,
  p.tenant_id,
  p.meter,
  p.usage_hour,
  p.stripe_customer,
  p.value,
  p.seal_number,
  p.disposition,
  p.delivery,
  p.delivery_reason,
  p.attempt,
  p.maybe_sent,
  p.unknown_since,
  GREATEST(p.sealed_at, COALESCE(p.noted_at, p.sealed_at)) AS changed_at,
  c.price
FROM `${ledger}.delivery_states` AS p
LEFT JOIN open_segments AS o ON o.tenant_id = p.tenant_id
LEFT JOIN prices AS c ON c.segment_id = p.segment_id AND c.meter = p.meter
WHERE p.usage_hour >= @rows_since
  AND (@tenant_id = '' OR p.tenant_id = @tenant_id)
  AND (
    (p.disposition = 'one_off' AND p.delivery IN ('unsent', 'sending', 'sent'))
    OR (
      o.tenant_id IS NULL
      AND (
        (p.disposition = 'parked' AND p.disposition_reason = 'period_closed')
        OR (p.delivery = 'parked' AND p.delivery_reason = 'period_closed')
      )
    )
  )
ORDER BY p.stripe_customer, p.seal_number, p.identifier
