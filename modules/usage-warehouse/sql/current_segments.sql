-- One row per billing segment that is in force for some time: its newest row. Source: billing_segments.
-- Spans of one tenant never overlap here: a segment ends where the tenant's next one starts.
-- known_at: when its newest row was learned from Stripe.
-- closes_at: when Stripe drafts the invoice that takes the segment's usage: at the period's end, or when the subscription
-- ended before it.
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
),
spans AS (
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
    n.known_at,
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
)
SELECT
  s.segment_id,
  s.tenant_id,
  s.stripe_customer,
  s.subscription_id,
  s.plan,
  s.charge_basis,
  s.items,
  s.period_start,
  s.period_end,
  s.starts_at,
  s.ends_at,
  s.known_at,
  LEAST(
    s.period_end,
    MAX(s.ends_at) OVER (PARTITION BY s.tenant_id, s.subscription_id, s.period_start)
  ) AS closes_at
FROM spans AS s
