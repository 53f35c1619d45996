-- What a run has to do, in one row: where the ledger stands, and how much is unsealed, rejected and unsent.
WITH due AS (
  SELECT
    COUNT(IF(u.stopped, NULL, 1)) AS unsealed_buckets,
    COUNT(IF(u.stopped, 1, NULL)) AS stopped_buckets
  FROM (
${due}
  ) AS u
),
rejects AS (
  SELECT c.line_id
  FROM `${ledger}.usage_clean` AS c
  LEFT JOIN `${ledger}.rejected_lines` AS r
    ON r.line_id = c.line_id AND r.line_timestamp >= @window_start AND r.line_timestamp < @lines_end
  WHERE c.rejected_reason IS NOT NULL
    AND c.line_timestamp >= @window_start AND c.line_timestamp < @lines_end
    AND (@tenant_id = '' OR c.tenant_id = @tenant_id)
    AND (c.rejected_reason != 'unknown_tenant' OR c.received_at < @strangers_before)
    AND r.line_id IS NULL
)
SELECT
  (SELECT MIN(e.ledger_epoch) FROM `${ledger}.ledger_epochs` AS e) AS ledger_epoch,
  (SELECT COUNT(*) FROM `${ledger}.ledger_epochs` AS e) AS ledger_epochs,
  (
    SELECT COALESCE(MAX(d.seal_number), 0)
    FROM `${ledger}.meter_deltas` AS d
    WHERE d.usage_hour >= @head_since
  ) AS head,
  w.unsealed_buckets,
  w.stopped_buckets,
  (SELECT COUNT(DISTINCT j.line_id) FROM rejects AS j) AS new_rejects,
  (SELECT COUNT(*) FROM `${ledger}.rejected_lines` AS r) AS rejected_lines,
  (
    SELECT COUNT(*)
    FROM `${ledger}.delivery_states` AS p
    WHERE p.usage_hour >= @unsent_since AND p.disposition = 'billable' AND p.delivery IN ('unsent', 'sending')
      AND (@tenant_id = '' OR p.tenant_id = @tenant_id)
  ) AS unsent
FROM due AS w
