-- Log entries that a sink could not write into its table, by log, tenant and cause.
SELECT
  REGEXP_EXTRACT(x.logName, r'([^/]+)\z') AS log,
  COALESCE(REGEXP_EXTRACT(x.logEntry, r'"tenant_id": ?"([^"]*)"'), '') AS tenant_id,
  COALESCE(x.schemaErrorDetail, '') AS cause,
  COUNT(DISTINCT x.insertId) AS lines,
  MIN(x.timestamp) AS first_at,
  MAX(x.timestamp) AS last_at
FROM `${raw}.export_errors` AS x
WHERE x.timestamp >= @window_start AND x.timestamp < @window_end
GROUP BY
  REGEXP_EXTRACT(x.logName, r'([^/]+)\z'),
  COALESCE(REGEXP_EXTRACT(x.logEntry, r'"tenant_id": ?"([^"]*)"'), ''),
  COALESCE(x.schemaErrorDetail, '')
ORDER BY lines DESC, tenant_id, cause
