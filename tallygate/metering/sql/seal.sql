-- Seals what is used and not yet sealed, as seal @seal_number. The fence: only where the ledger's head is one less.
-- Never negative: an hour of a tenant's meter in which any bucket has more sealed than used is left alone.
-- Late usage (its period's invoice is closed, or its hour is too old for Stripe) is booked in the open segment.
INSERT INTO `${ledger}.meter_deltas` (
  identifier, ledger_epoch, seal_number, tenant_id, meter, segment_id, usage_hour, seq, value,
  disposition, reason, stripe_customer, booked_at, late, correction_id, sealed_at
)
WITH buckets AS (
  SELECT u.tenant_id, u.meter, u.segment_id, u.usage_hour, u.charge, u.unsealed
  FROM `${ledger}.unsealed_usage` AS u
  WHERE u.usage_hour >= @window_start AND u.usage_hour < @window_end
    AND (@tenant_id = '' OR u.tenant_id = @tenant_id)
),
stopped AS (
  SELECT DISTINCT b.tenant_id, b.meter, b.usage_hour
  FROM buckets AS b
  WHERE b.unsealed < 0
),
numbered AS (
  SELECT d.tenant_id, d.meter, d.usage_hour, MAX(d.seq) AS seq
  FROM `${ledger}.meter_deltas` AS d
  WHERE d.usage_hour >= @window_start AND d.usage_hour < @window_end
  GROUP BY d.tenant_id, d.meter, d.usage_hour
),
segment_items AS (
  SELECT s.segment_id, s.stripe_customer, s.starts_at, s.ends_at, i.meter, i.subscription_item
  FROM `${ledger}.current_segments` AS s
  CROSS JOIN UNNEST(s.items) AS i
),
-- The items that bill a meter to a segment's customer while the segment holds, over all tenants.
items AS (
  SELECT
    s.segment_id,
    i.meter,
    COUNT(DISTINCT i.subscription_item) AS items,
    COUNTIF(i.segment_id = s.segment_id) AS own_items
  FROM `${ledger}.current_segments` AS s
  INNER JOIN segment_items AS i
    ON i.stripe_customer = s.stripe_customer AND i.starts_at < s.ends_at AND i.ends_at > s.starts_at
  GROUP BY s.segment_id, i.meter
),
placed AS (
  SELECT
    b.tenant_id,
    b.meter,
    b.segment_id,
    b.usage_hour,
    b.charge,
    b.unsealed,
    own.charge_basis,
    GREATEST(b.usage_hour, COALESCE(own.starts_at, b.usage_hour)) AS used_from,
    own.segment_id IS NOT NULL AND (
      (
        own.period_end > GREATEST(b.usage_hour, own.starts_at)
        AND @now >= TIMESTAMP_ADD(own.period_end, INTERVAL @closes_after_seconds SECOND)
      )
      OR GREATEST(b.usage_hour, own.starts_at) < @oldest_bookable
    ) AS late
  FROM buckets AS b
  LEFT JOIN stopped AS x ON x.tenant_id = b.tenant_id AND x.meter = b.meter AND x.usage_hour = b.usage_hour
  LEFT JOIN `${ledger}.current_segments` AS own ON own.segment_id = b.segment_id
  WHERE x.tenant_id IS NULL
),
open_segments AS (
  SELECT s.tenant_id, s.segment_id, s.starts_at
  FROM `${ledger}.current_segments` AS s
  WHERE s.starts_at <= @now AND s.ends_at > @now
),
targeted AS (
  SELECT
    p.*,
    IF(p.late, o.segment_id, p.segment_id) AS target_segment,
    IF(
      p.late AND o.segment_id IS NOT NULL,
      GREATEST(TIMESTAMP_TRUNC(@now, HOUR), o.starts_at),
      p.used_from
    ) AS booked_at
  FROM placed AS p
  LEFT JOIN open_segments AS o ON o.tenant_id = p.tenant_id
),
judged AS (
  SELECT
    t.tenant_id,
    t.meter,
    t.segment_id,
    t.usage_hour,
    t.charge,
    t.unsealed,
    t.booked_at,
    t.late,
    target.stripe_customer,
    CASE
      WHEN t.charge = 'not_billable' THEN 'waived:not_billable'
      WHEN t.segment_id IS NULL THEN 'parked:no_segment'
      WHEN t.charge = 'unpriced' THEN 'parked:unpriced'
      WHEN t.charge_basis = 'none' THEN 'included:charge_basis'
      WHEN t.charge_basis = 'cost' AND t.meter != 'llm_cost_nano_usd' THEN 'included:charge_basis'
      WHEN t.charge_basis = 'tokens' AND t.meter = 'llm_cost_nano_usd' THEN 'included:charge_basis'
      WHEN t.target_segment IS NULL THEN 'parked:period_closed'
      WHEN target.stripe_customer IS NULL THEN 'parked:no_customer'
      WHEN COALESCE(i.own_items, 0) = 0 THEN 'parked:no_item'
      WHEN i.items > 1 THEN 'parked:two_items'
      ELSE 'billable:'
    END AS verdict
  FROM targeted AS t
  LEFT JOIN `${ledger}.current_segments` AS target ON target.segment_id = t.target_segment
  LEFT JOIN items AS i ON i.segment_id = t.target_segment AND i.meter = t.meter
),
sequenced AS (
  SELECT
    j.*,
    COALESCE(n.seq, 0) + ROW_NUMBER() OVER (
      PARTITION BY j.tenant_id, j.meter, j.usage_hour
      ORDER BY j.segment_id, j.charge
    ) AS seq
  FROM judged AS j
  LEFT JOIN numbered AS n ON n.tenant_id = j.tenant_id AND n.meter = j.meter AND n.usage_hour = j.usage_hour
)
SELECT
  CONCAT(
    'u1:', @ledger_epoch, ':', q.tenant_id, ':', q.meter, ':',
    CAST(UNIX_SECONDS(q.usage_hour) AS STRING), ':', CAST(q.seq AS STRING)
  ) AS identifier,
  @ledger_epoch AS ledger_epoch,
  @seal_number AS seal_number,
  q.tenant_id,
  q.meter,
  q.segment_id,
  q.usage_hour,
  q.seq,
  q.unsealed AS value,
  SPLIT(q.verdict, ':')[OFFSET(0)] AS disposition,
  NULLIF(SPLIT(q.verdict, ':')[OFFSET(1)], '') AS reason,
  q.stripe_customer,
  q.booked_at,
  q.late,
  CAST(NULL AS STRING) AS correction_id,
  @now AS sealed_at
FROM sequenced AS q
WHERE (
  SELECT COALESCE(MAX(h.seal_number), 0) FROM `${ledger}.meter_deltas` AS h WHERE h.usage_hour >= @head_since
) = @seal_number - 1
