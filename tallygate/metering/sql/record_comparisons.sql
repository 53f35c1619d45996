-- Appends the results of a run's comparisons.
INSERT INTO `${ledger}.reconciliations` (
  run_id, checked_at, kind, tenant_id, stripe_customer, meter, window_start, window_end,
  ledger_value, witness_value, difference, action, detail
)
SELECT
  @run_id AS run_id,
  @now AS checked_at,
  r.kind,
  r.tenant_id,
  r.stripe_customer,
  r.meter,
  r.window_start,
  r.window_end,
  r.ledger_value,
  r.witness_value,
  r.witness_value - r.ledger_value AS difference,
  r.action,
  r.detail
FROM UNNEST(@rows) AS r
