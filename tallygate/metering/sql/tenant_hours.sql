-- The usage events of each tenant and hour: requests and cost, to compare with what the gateway's instances counted.
SELECT e.tenant_id, e.usage_hour, COUNT(*) AS requests, SUM(e.cost_nano_usd) AS cost_nano_usd
FROM `${ledger}.usage_events` AS e
WHERE e.ended_at >= @window_start AND e.ended_at < @window_end
GROUP BY e.tenant_id, e.usage_hour
