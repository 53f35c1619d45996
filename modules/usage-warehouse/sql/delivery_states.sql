-- One row per sealed delta with where its delivery stands. Source: meter_deltas and meter_deliveries.
-- For: sending and reconciling. delivery is unsent, sending, sent, confirmed, parked or rejected for a row that is
-- billable or on a one-off invoice; none for the others, which are never sent.
-- usage_hour is in every key, so that a filter on it prunes both tables.
-- maybe_sent: some attempt may have reached Stripe though no answer was noted. A row of state sending with a reason
-- other than unknown_outcome says that Stripe has certainly not taken it.
WITH attempts AS (
  SELECT
    v.identifier,
    v.usage_hour,
    v.attempt,
    v.state,
    v.reason,
    v.`at` AS noted_at,
    MIN(v.`at`) OVER (PARTITION BY v.usage_hour, v.identifier, v.attempt) AS first_at
  FROM `${ledger}.meter_deliveries` AS v
  WHERE v.identifier IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY v.usage_hour, v.identifier, v.attempt
    ORDER BY v.`at` DESC, CASE WHEN v.state != 'sending' THEN 2 WHEN v.reason IS NOT NULL THEN 1 ELSE 0 END DESC
  ) = 1
),
newest AS (
  SELECT
    a.identifier,
    a.usage_hour,
    a.attempt,
    a.state,
    a.reason,
    a.noted_at,
    MIN(IF(a.state = 'sending' AND COALESCE(a.reason, 'unknown_outcome') = 'unknown_outcome', a.first_at, NULL))
      OVER (PARTITION BY a.usage_hour, a.identifier) AS unknown_since
  FROM attempts AS a
  WHERE a.attempt IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY a.usage_hour, a.identifier
    ORDER BY CASE a.state WHEN 'confirmed' THEN 0 WHEN 'sent' THEN 1 ELSE 2 END, a.attempt DESC
  ) = 1
)
SELECT
  d.identifier,
  d.seal_number,
  d.tenant_id,
  d.meter,
  d.segment_id,
  d.usage_hour,
  d.seq,
  d.value,
  d.disposition,
  d.reason AS disposition_reason,
  d.stripe_customer,
  d.booked_at,
  d.late,
  d.correction_id,
  d.sealed_at,
  IF(d.disposition IN ('billable', 'one_off'), COALESCE(n.state, 'unsent'), 'none') AS delivery,
  COALESCE(n.attempt, 0) AS attempt,
  n.reason AS delivery_reason,
  n.noted_at,
  n.unknown_since IS NOT NULL AS maybe_sent,
  n.unknown_since
FROM `${ledger}.meter_deltas` AS d
LEFT JOIN newest AS n ON n.usage_hour = d.usage_hour AND n.identifier = d.identifier
