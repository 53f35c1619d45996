-- The lines of the window that the warehouse holds, usable or not: what need not be taken from the archive.
SELECT c.event, c.request_id
FROM `${ledger}.usage_clean` AS c
WHERE c.line_timestamp >= @window_start AND c.line_timestamp < @window_end
  AND (@tenant_id = '' OR c.tenant_id = @tenant_id)
  AND c.source = 'stdout' AND c.event IS NOT NULL AND c.request_id IS NOT NULL
