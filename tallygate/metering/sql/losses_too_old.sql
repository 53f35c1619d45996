-- Usage lines that were received from @window_start to @window_end with a timestamp from @oldest to @newest, older than
-- any scheduled run looks back: a clock that was wrong, or a line that was on its way for weeks. Those that were older
-- than @old_days when they were received (@very_late), or the others. By tenant; a replay of their hours seals them.
SELECT
  COALESCE(l.jsonPayload.tenant_id, '') AS tenant_id,
  COUNT(DISTINCT l.jsonPayload.request_id) AS requests,
  MIN(l.timestamp) AS first_at,
  MAX(l.timestamp) AS last_at,
  MIN(l.jsonPayload.request_id) AS example
FROM `${raw}.run_googleapis_com_stdout` AS l
WHERE l.timestamp >= @oldest AND l.timestamp < @newest
  AND l.receiveTimestamp >= @window_start AND l.receiveTimestamp < @window_end
  AND (l.timestamp < TIMESTAMP_SUB(l.receiveTimestamp, INTERVAL @old_days DAY)) = @very_late
  AND l.jsonPayload.event = 'llm_usage'
GROUP BY COALESCE(l.jsonPayload.tenant_id, '')
ORDER BY requests DESC, tenant_id
