-- The sealed rows of the bucket (tenant, meter, segment, hour) in which the row of a one-off invoice item is sealed, that
-- row among them: together they are what the bucket's requests used.
WITH charged AS (
  SELECT d.tenant_id, d.meter, d.segment_id, d.usage_hour
  FROM `${ledger}.meter_deltas` AS d
  WHERE d.usage_hour = @usage_hour AND d.identifier = @identifier
)
SELECT
  p.identifier,
  p.tenant_id,
  p.segment_id,
  p.usage_hour,
  p.disposition,
  p.value,
  p.delivery,
  p.delivery_reason
FROM `${ledger}.delivery_states` AS p
INNER JOIN charged AS c ON c.tenant_id = p.tenant_id AND c.meter = p.meter AND c.segment_id = p.segment_id
WHERE p.usage_hour = @usage_hour
ORDER BY p.identifier
