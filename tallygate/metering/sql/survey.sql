-- What a run has to do, in one row: where the ledger stands, and how much is unsealed, rejected and unsent.
WITH buckets AS (
  SELECT u.tenant_id, u.meter, u.usage_hour, u.unsealed
  FROM `${ledger}.unsealed_usage` AS u
  WHERE u.usage_hour >= @window_start AND u.usage_hour < @window_end
    AND (@tenant_id = '' OR u.tenant_id = @tenant_id)
),
stopped AS (
  SELECT DISTINCT b.tenant_id, b.meter, b.usage_hour
  FROM buckets AS b
  WHERE b.unsealed < 0
),
rejects AS (
  SELECT c.line_id
  FROM `${ledger}.usage_clean` AS c
  LEFT JOIN `${ledger}.rejected_lines` AS r
    ON r.line_id = c.line_id AND r.line_timestamp >= @window_start AND r.line_timestamp < @lines_end
  WHERE c.rejected_reason IS NOT NULL
    AND c.line_timestamp >= @window_start AND c.line_timestamp < @lines_end
    AND (@tenant_id = '' OR c.tenant_id = @tenant_id)
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
  (
    SELECT COUNT(*)
    FROM buckets AS b
    LEFT JOIN stopped AS s
      ON s.tenant_id = b.tenant_id AND s.meter = b.meter AND s.usage_hour = b.usage_hour
    WHERE s.tenant_id IS NULL
  ) AS unsealed_buckets,
  (SELECT COUNT(*) FROM stopped AS s) AS stopped_buckets,
  (SELECT COUNT(DISTINCT j.line_id) FROM rejects AS j) AS new_rejects,
  (SELECT COUNT(*) FROM `${ledger}.rejected_lines` AS r) AS rejected_lines,
  (
    SELECT COUNT(*)
    FROM `${ledger}.delivery_states` AS p
    WHERE p.usage_hour >= @unsent_since AND p.delivery IN ('unsent', 'sending')
      AND (@tenant_id = '' OR p.tenant_id = @tenant_id)
  ) AS unsent
