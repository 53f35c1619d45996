-- Notes as confirmed what was sent for some hours of booking, noted before @as_of: Stripe's sums equal the ledger's.
INSERT INTO `${ledger}.meter_deliveries` (identifier, usage_hour, attempt, state, reason, `at`, run_id)
SELECT
  p.identifier,
  p.usage_hour,
  p.attempt,
  'confirmed' AS state,
  CAST(NULL AS STRING) AS reason,
  @now AS `at`,
  @run_id AS run_id
FROM `${ledger}.delivery_states` AS p
INNER JOIN UNNEST(@hours) AS h
  ON h.stripe_customer = p.stripe_customer
  AND h.meter = p.meter
  AND h.booked_hour = TIMESTAMP_TRUNC(p.booked_at, HOUR)
WHERE p.usage_hour >= @rows_since
  AND p.delivery = 'sent' AND p.noted_at < @as_of
  AND p.booked_at >= @window_start AND p.booked_at < @window_end
