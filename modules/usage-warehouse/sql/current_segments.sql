-- One row per billing segment that is in force for some time: its newest row. Source: billing_segments.
-- Spans of one tenant never overlap here: a segment ends where the tenant's next one starts.
WITH newest AS (
  SELECT
    g.segment_id,
    g.tenant_id,
    g.stripe_customer,
    g.subscription_id,
    g.plan,
    g.charge_basis,
    g.items,
    g.period_start,
    g.period_end,
    g.valid_from,
    COALESCE(g.valid_to, TIMESTAMP '9999-12-31 00:00:00+00') AS valid_to,
    g.known_at
  FROM `${ledger}.billing_segments` AS g
  WHERE g.segment_id IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY g.segment_id ORDER BY g.known_at DESC) = 1
)
SELECT
  n.segment_id,
  n.tenant_id,
  n.stripe_customer,
  n.subscription_id,
  n.plan,
  n.charge_basis,
  n.items,
  n.period_start,
  n.period_end,
  n.valid_from AS starts_at,
  LEAST(
    n.valid_to,
    COALESCE(
      LEAD(n.valid_from) OVER (PARTITION BY n.tenant_id ORDER BY n.valid_from, n.known_at, n.segment_id),
      TIMESTAMP '9999-12-31 00:00:00+00'
    )
  ) AS ends_at
FROM newest AS n
WHERE n.valid_from < n.valid_to
