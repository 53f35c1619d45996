-- What the ledger holds for each of some metered invoice lines: the sum of what was sent, and how many rows are not
-- decided yet (unsent or of unknown outcome). A subscription's line: what is booked for its customer and meter in its
-- period; late rows are of older hours, at most of the 400 days for which usage lines are kept. A line of a one-off
-- invoice: the row that it names.
WITH rows_of_lines AS (
  SELECT
    p.identifier,
    p.stripe_customer,
    p.meter,
    p.booked_at,
    p.tenant_id,
    p.disposition,
    IF(p.delivery IN ('sent', 'confirmed'), p.value, 0) AS sent,
    IF(p.delivery IN ('unsent', 'sending'), 1, 0) AS under_way
  FROM `${ledger}.delivery_states` AS p
  WHERE p.usage_hour >= TIMESTAMP_SUB(@window_start, INTERVAL 400 DAY) AND p.usage_hour < @window_end
    AND p.disposition IN ('billable', 'one_off')
),
found AS (
  SELECT l.invoice, l.line, b.tenant_id, b.sent, b.under_way
  FROM UNNEST(@lines) AS l
  INNER JOIN rows_of_lines AS b
    ON b.stripe_customer = l.stripe_customer AND b.meter = l.meter
    AND b.booked_at >= l.period_start AND b.booked_at < l.period_end
  WHERE l.identifier = '' AND b.disposition = 'billable'
  UNION ALL
  SELECT l.invoice, l.line, b.tenant_id, b.sent, b.under_way
  FROM UNNEST(@lines) AS l
  INNER JOIN rows_of_lines AS b ON b.identifier = l.identifier
)
SELECT
  l.invoice,
  l.line,
  MAX(f.tenant_id) AS tenant_id,
  COALESCE(SUM(f.sent), 0) AS ledger_value,
  COALESCE(SUM(f.under_way), 0) AS under_way
FROM UNNEST(@lines) AS l
LEFT JOIN found AS f ON f.invoice = l.invoice AND f.line = l.line
GROUP BY l.invoice, l.line
