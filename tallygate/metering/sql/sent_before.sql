-- Which of some identifiers another run has started to send.
SELECT DISTINCT v.identifier
FROM `${ledger}.meter_deliveries` AS v
WHERE v.usage_hour >= @first_hour AND v.usage_hour <= @last_hour
  AND v.identifier IN UNNEST(@identifiers) AND v.run_id != @run_id AND v.state IN ('sending', 'sent', 'confirmed')
