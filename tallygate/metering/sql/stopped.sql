-- The hours of a tenant's meter that are not sealed because more is sealed than was used, with both sums.
SELECT u.tenant_id, u.meter, u.usage_hour, u.used, u.sealed
FROM (
${due}
) AS u
WHERE u.stopped
ORDER BY u.usage_hour, u.tenant_id, u.meter
