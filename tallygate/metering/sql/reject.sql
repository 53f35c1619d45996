-- Notes the lines that can't be usage, each once; those of unknown tenants only if they came before @strangers_before:
-- a new tenant's first lines may be here before its billing segment. Fenced: only where rejected_lines still holds @rejected_lines rows.
INSERT INTO `${ledger}.rejected_lines` (
  line_id, insert_id, request_id, tenant_id, reason, detail, line_timestamp, found_at, source
)
SELECT
  c.line_id,
  c.insert_id,
  c.request_id,
  c.tenant_id,
  c.rejected_reason AS reason,
  c.rejected_detail AS detail,
  c.line_timestamp,
  @now AS found_at,
  c.source
FROM `${ledger}.usage_clean` AS c
LEFT JOIN `${ledger}.rejected_lines` AS r
  ON r.line_id = c.line_id AND r.line_timestamp >= @window_start AND r.line_timestamp < @lines_end
WHERE c.rejected_reason IS NOT NULL
  AND c.line_timestamp >= @window_start AND c.line_timestamp < @lines_end
  AND (@tenant_id = '' OR c.tenant_id = @tenant_id)
  AND (c.rejected_reason != 'unknown_tenant' OR c.received_at < @strangers_before)
  AND r.line_id IS NULL
  AND (SELECT COUNT(*) FROM `${ledger}.rejected_lines` AS f) = @rejected_lines
QUALIFY ROW_NUMBER() OVER (PARTITION BY c.line_id ORDER BY c.received_at) = 1
