-- The buckets that are not sealed because more is sealed than was used, with both sums.
SELECT u.tenant_id, u.meter, u.segment_id, u.usage_hour, u.charge, u.used, u.sealed
FROM `${ledger}.unsealed_usage` AS u
WHERE u.usage_hour >= @window_start AND u.usage_hour < @window_end
  AND (@tenant_id = '' OR u.tenant_id = @tenant_id)
  AND u.unsealed < 0
ORDER BY u.usage_hour, u.tenant_id, u.meter
LIMIT 20
