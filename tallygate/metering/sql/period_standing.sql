-- What the ledger holds of one customer for a span of booking times, per meter: sent, and not yet sent.
-- Late rows are of older hours, at most of the 400 days for which usage lines are kept.
-- For: releasing a draft invoice. unsealed counts the tenant's buckets of usage that no seal holds yet.
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
  FROM `${ledger}.unsealed_usage` AS u
  WHERE u.tenant_id = @tenant_id AND u.unsealed > 0
    AND u.usage_hour >= TIMESTAMP_TRUNC(@span_start, HOUR) AND u.usage_hour < @period_end
)
SELECT m AS meter, COALESCE(b.sent, 0) AS sent, COALESCE(b.unsent, 0) AS unsent, w.unsealed
FROM UNNEST(@meters) AS m
LEFT JOIN booked AS b ON b.meter = m
CROSS JOIN waiting AS w
