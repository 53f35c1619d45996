-- One row per bucket (tenant, meter, segment, hour, kind of charge) whose usage differs from what is sealed.
-- Source: usage_hours and meter_deltas. For: sealing. unsealed is negative where more is sealed than was used:
-- such a bucket is never sealed further, but reported.
WITH sides AS (
  SELECT h.tenant_id, h.meter, h.segment_id, h.usage_hour, h.charge, h.value AS used, 0 AS sealed
  FROM `${ledger}.usage_hours` AS h
  UNION ALL
  SELECT
    d.tenant_id,
    d.meter,
    d.segment_id,
    d.usage_hour,
    IF(d.reason IN ('not_billable', 'unpriced'), d.reason, 'billable') AS charge,
    0 AS used,
    d.value AS sealed
  FROM `${ledger}.meter_deltas` AS d
)
SELECT
  b.tenant_id,
  b.meter,
  b.segment_id,
  b.usage_hour,
  b.charge,
  SUM(b.used) AS used,
  SUM(b.sealed) AS sealed,
  SUM(b.used) - SUM(b.sealed) AS unsealed
FROM sides AS b
GROUP BY b.tenant_id, b.meter, b.segment_id, b.usage_hour, b.charge
HAVING SUM(b.used) != SUM(b.sealed)
