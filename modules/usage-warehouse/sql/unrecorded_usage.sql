-- One row per admitted request without a usable usage event: usage that is known to have happened, counts unknown.
-- Source: usage_clean. For: the alert and the proof. A request in flight shows here until its event arrives:
-- readers leave out what was admitted a moment ago.
SELECT
  a.request_id,
  a.tenant_id,
  a.model,
  a.endpoint,
  a.line_timestamp AS admitted_at,
  a.stream_id,
  a.seq,
  COALESCE(u.rejected_reason, 'no_usage_event') AS reason
FROM `${ledger}.usage_clean` AS a
LEFT JOIN `${ledger}.usage_clean` AS u
  ON u.request_id = a.request_id AND u.event = 'llm_usage'
WHERE a.event = 'llm_admit'
  AND a.rejected_reason IS NULL
  AND (u.request_id IS NULL OR u.rejected_reason IS NOT NULL)
