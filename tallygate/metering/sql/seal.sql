-- Seals what is due, as seal @seal_number. The fence: only where the ledger's head is one less.
-- Never negative but in corrections, which sum to zero within an hour of a tenant's meter.
INSERT INTO `${ledger}.meter_deltas` (
  identifier, ledger_epoch, seal_number, tenant_id, meter, segment_id, usage_hour, seq, value,
  disposition, reason, stripe_customer, booked_at, late, correction_id, sealed_at
)
WITH numbered AS (
  SELECT d.tenant_id, d.meter, d.usage_hour, MAX(d.seq) AS seq
  FROM `${ledger}.meter_deltas` AS d
  WHERE d.usage_hour >= @window_start AND d.usage_hour < @window_end
  GROUP BY d.tenant_id, d.meter, d.usage_hour
),
sequenced AS (
  SELECT
    j.*,
    COALESCE(n.seq, 0) + ROW_NUMBER() OVER (
      PARTITION BY j.tenant_id, j.meter, j.usage_hour
      ORDER BY j.correction, j.value > 0, j.segment_id, j.charge, j.disposition, j.reason, j.stripe_customer
    ) AS seq
  FROM (
${due}
  ) AS j
  LEFT JOIN numbered AS n ON n.tenant_id = j.tenant_id AND n.meter = j.meter AND n.usage_hour = j.usage_hour
  WHERE NOT j.stopped
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
  q.value,
  q.disposition,
  q.reason,
  q.stripe_customer,
  q.booked_at,
  q.late,
  IF(
    q.correction,
    CONCAT(
      'c1:', @ledger_epoch, ':', CAST(@seal_number AS STRING), ':', q.tenant_id, ':', q.meter, ':',
      CAST(UNIX_SECONDS(q.usage_hour) AS STRING)
    ),
    NULL
  ) AS correction_id,
  @now AS sealed_at
FROM sequenced AS q
WHERE (
  SELECT COALESCE(MAX(h.seal_number), 0) FROM `${ledger}.meter_deltas` AS h WHERE h.usage_hour >= @head_since
) = @seal_number - 1
