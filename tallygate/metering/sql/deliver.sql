-- Appends rows to the history of deliveries.
INSERT INTO `${ledger}.meter_deliveries` (identifier, attempt, state, reason, `at`, run_id)
SELECT r.identifier, r.attempt, r.state, r.reason, @now AS `at`, @run_id AS run_id
FROM UNNEST(@rows) AS r
