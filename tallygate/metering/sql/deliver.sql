-- Appends rows to the history of deliveries. The hour of usage is read from the identifier, which ends in it and seq.
INSERT INTO `${ledger}.meter_deliveries` (identifier, usage_hour, attempt, state, reason, `at`, run_id)
SELECT
  r.identifier,
  COALESCE(
    TIMESTAMP_SECONDS(SAFE_CAST(SPLIT(r.identifier, ':')[SAFE_OFFSET(4)] AS INT64)),
    TIMESTAMP '1970-01-01 00:00:00+00'
  ) AS usage_hour,
  r.attempt,
  r.state,
  r.reason,
  @now AS `at`,
  @run_id AS run_id
FROM UNNEST(@rows) AS r
