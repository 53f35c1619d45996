-- What the ledger holds of one customer for a span of booking times, per meter: sent, and not yet sent.
-- Late rows are of older hours, at most of the 400 days for which usage lines are kept.
-- For: releasing a draft invoice. unsealed counts what a seal of the period would add.
WITH booked AS (
  SELECT
    d.meter,
    SUM(IF(d.delivery IN ('sent', 'confirmed'), d.value, 0)) AS sent,
    COUNTIF(d.delivery IN ('unsent', 'sending')) AS unsent
  FROM `${ledger}.delivery_states` AS d
  WHERE d.disposition = 'billable' AND d.stripe_customer = @stripe_customer
    AND d.booked_at >= @span_start AND d.booked_at < @span_end
    AND d.usage_hour < @span_end AND d.usage_hour >= TIMESTAMP_SUB(@span_start, INTERVAL 400 DAY)
  GROUP BY d.meter
),
waiting AS (
  SELECT COUNT(*) AS unsealed
  FROM (
${due}
  ) AS u
  WHERE NOT u.stopped
)
SELECT m AS meter, COALESCE(b.sent, 0) AS sent, COALESCE(b.unsent, 0) AS unsent, w.unsealed
FROM UNNEST(@meters) AS m
LEFT JOIN booked AS b ON b.meter = m
CROSS JOIN waiting AS w
