-- One row per row that sealing would add for the hours of the window, without its number; for an hour of a tenant's
-- meter in which less is used than is sealed, one row that says so (stopped): nothing of that hour is sealed.
-- Source: usage_events, current_segments and delivery_states, bounded by the window on their partition columns.
--
-- A bucket is a tenant, meter, segment, hour and kind of charge. Usage can move between the buckets of an hour when
-- a boundary is learned late or a price is found, and what is parked can become billable: what is taken from one
-- bucket and added to another are correction rows, which sum to zero within the hour. Sealed rows are never changed.
--   settled    sealed and final: billed, included, waived, or parked for a reason that only a person ends
--   parked     sealed as parked for a reason that a later state of the tenant's subscription can end
--   late       the invoice of the usage's period is closed, the hour is too old for Stripe, or Stripe has lost its
--              customer and the tenant has another one: booked in the open segment;
--              where none is open, @after_close says what becomes of it, or (empty) it waits as parked
-- What Stripe refused for want of the customer waits as parked until the tenant has another customer, which then pays,
-- or until a segment was learned after the refusal: Stripe has told of the customer since. @retry_refused: at once.
WITH metered AS (
  SELECT
    e.tenant_id,
    m.meter,
    s.segment_id,
    e.usage_hour,
    CASE
      WHEN NOT e.billable THEN 'not_billable'
      WHEN e.unpriced AND s.charge_basis = 'cost' THEN 'unpriced'
      ELSE 'billable'
    END AS charge,
    m.value
  FROM `${ledger}.usage_events` AS e
  LEFT JOIN `${ledger}.current_segments` AS s
    ON s.tenant_id = e.tenant_id AND e.ended_at >= s.starts_at AND e.ended_at < s.ends_at
  CROSS JOIN UNNEST([
    STRUCT('llm_input_tokens' AS meter, e.input_tokens AS value),
    STRUCT('llm_cached_input_tokens' AS meter, e.cached_input_tokens AS value),
    STRUCT('llm_cache_write_tokens' AS meter, e.cache_write_tokens AS value),
    STRUCT('llm_output_tokens' AS meter, e.output_tokens AS value),
    STRUCT('llm_cost_nano_usd' AS meter, e.cost_nano_usd AS value)
  ]) AS m
  WHERE e.ended_at >= @window_start AND e.ended_at < @window_end
    AND (@tenant_id = '' OR e.tenant_id = @tenant_id)
),
open_segments AS (
  SELECT s.tenant_id, s.segment_id, s.stripe_customer, s.starts_at, s.known_at
  FROM `${ledger}.current_segments` AS s
  WHERE s.starts_at <= @now AND s.ends_at > @now
),
delivered AS (
  SELECT
    p.tenant_id,
    p.meter,
    p.segment_id,
    p.usage_hour,
    p.disposition,
    p.disposition_reason,
    p.stripe_customer,
    p.value,
    p.noted_at,
    CASE
      WHEN p.delivery = 'parked' THEN COALESCE(p.delivery_reason, '')
      WHEN p.delivery = 'rejected' AND p.delivery_reason = 'meter_event_customer_not_found' THEN 'customer_not_found'
    END AS refusal
  FROM `${ledger}.delivery_states` AS p
  WHERE p.usage_hour >= @window_start AND p.usage_hour < @window_end
    AND (@tenant_id = '' OR p.tenant_id = @tenant_id)
),
sealed_rows AS (
  SELECT
    d.tenant_id,
    d.meter,
    d.segment_id,
    d.usage_hour,
    IF(d.disposition_reason IN ('not_billable', 'unpriced'), d.disposition_reason, 'billable') AS charge,
    IF(d.refusal IS NULL, d.disposition, 'parked') AS disposition,
    COALESCE(d.refusal, d.disposition_reason) AS reason,
    d.stripe_customer,
    d.value,
    IF(d.refusal = 'customer_not_found', d.noted_at, NULL) AS refused_at
  FROM delivered AS d
),
sealed_sums AS (
  SELECT
    r.tenant_id,
    r.meter,
    r.segment_id,
    r.usage_hour,
    r.charge,
    r.disposition,
    r.reason,
    r.stripe_customer,
    SUM(r.value) AS value,
    MAX(r.refused_at) AS refused_at
  FROM sealed_rows AS r
  GROUP BY r.tenant_id, r.meter, r.segment_id, r.usage_hour, r.charge, r.disposition, r.reason, r.stripe_customer
  HAVING SUM(r.value) != 0
),
sealed AS (
  SELECT
    m.tenant_id,
    m.meter,
    m.segment_id,
    m.usage_hour,
    m.charge,
    m.disposition,
    m.reason,
    m.stripe_customer,
    m.value,
    m.disposition = 'parked' AND CASE m.reason
      WHEN 'no_segment' THEN TRUE
      WHEN 'no_customer' THEN TRUE
      WHEN 'no_item' THEN TRUE
      WHEN 'two_items' THEN TRUE
      WHEN 'unpriced' THEN TRUE
      WHEN 'period_closed' THEN TRUE
      WHEN 'customer_not_found' THEN COALESCE(
        @retry_refused
          OR o.stripe_customer != m.stripe_customer
          OR o.known_at > m.refused_at
          OR own.known_at > m.refused_at,
        FALSE
      )
      ELSE FALSE
    END AS can_end,
    IF(m.reason = 'customer_not_found' AND m.value > 0, m.stripe_customer, NULL) AS refused_customer
  FROM sealed_sums AS m
  LEFT JOIN `${ledger}.current_segments` AS own ON own.segment_id = m.segment_id
  LEFT JOIN open_segments AS o ON o.tenant_id = m.tenant_id
),
sides AS (
  SELECT
    u.tenant_id,
    u.meter,
    u.segment_id,
    u.usage_hour,
    u.charge,
    u.value AS used,
    0 AS settled,
    0 AS parked,
    CAST(NULL AS STRING) AS refused_customer
  FROM metered AS u
  WHERE u.value > 0
  UNION ALL
  SELECT
    g.tenant_id,
    g.meter,
    g.segment_id,
    g.usage_hour,
    g.charge,
    0 AS used,
    IF(g.can_end, 0, g.value) AS settled,
    IF(g.can_end, g.value, 0) AS parked,
    g.refused_customer
  FROM sealed AS g
),
buckets AS (
  SELECT
    b.tenant_id,
    b.meter,
    b.segment_id,
    b.usage_hour,
    b.charge,
    SUM(b.used) AS used,
    SUM(b.settled) AS settled,
    SUM(b.parked) AS parked,
    MAX(b.refused_customer) AS refused_customer
  FROM sides AS b
  GROUP BY b.tenant_id, b.meter, b.segment_id, b.usage_hour, b.charge
),
segment_items AS (
  SELECT s.segment_id, s.stripe_customer, s.starts_at, s.ends_at, i.meter, i.subscription_item
  FROM `${ledger}.current_segments` AS s
  CROSS JOIN UNNEST(s.items) AS i
),
-- The items that bill a meter to a segment's customer while the segment holds, over all tenants.
items AS (
  SELECT
    s.segment_id,
    i.meter,
    COUNT(DISTINCT i.subscription_item) AS items,
    COUNTIF(i.segment_id = s.segment_id) AS own_items
  FROM `${ledger}.current_segments` AS s
  INNER JOIN segment_items AS i
    ON i.stripe_customer = s.stripe_customer AND i.starts_at < s.ends_at AND i.ends_at > s.starts_at
  GROUP BY s.segment_id, i.meter
),
placed AS (
  SELECT
    b.tenant_id,
    b.meter,
    b.segment_id,
    b.usage_hour,
    b.charge,
    b.used,
    b.settled,
    b.parked,
    own.charge_basis,
    GREATEST(b.usage_hour, COALESCE(own.starts_at, b.usage_hour)) AS used_from,
    own.segment_id IS NOT NULL AND (
      (
        own.closes_at > GREATEST(b.usage_hour, own.starts_at)
        AND @now >= TIMESTAMP_ADD(own.closes_at, INTERVAL @closes_after_seconds SECOND)
      )
      OR GREATEST(b.usage_hour, own.starts_at) < @oldest_bookable
      OR COALESCE(own.stripe_customer = b.refused_customer AND o.stripe_customer != b.refused_customer, FALSE)
    ) AS late
  FROM buckets AS b
  LEFT JOIN `${ledger}.current_segments` AS own ON own.segment_id = b.segment_id
  LEFT JOIN open_segments AS o ON o.tenant_id = b.tenant_id
),
targeted AS (
  SELECT
    p.*,
    IF(p.late, o.segment_id, p.segment_id) AS target_segment,
    IF(
      p.late AND o.segment_id IS NOT NULL,
      GREATEST(TIMESTAMP_TRUNC(@now, HOUR), o.starts_at),
      p.used_from
    ) AS booked_at
  FROM placed AS p
  LEFT JOIN open_segments AS o ON o.tenant_id = p.tenant_id
),
judged AS (
  SELECT
    t.tenant_id,
    t.meter,
    t.segment_id,
    t.usage_hour,
    t.charge,
    t.used,
    t.settled,
    t.parked,
    t.booked_at,
    t.late,
    target.stripe_customer,
    CASE
      WHEN t.charge = 'not_billable' THEN 'waived:not_billable'
      WHEN t.segment_id IS NULL THEN 'parked:no_segment'
      WHEN t.charge = 'unpriced' THEN 'parked:unpriced'
      WHEN t.charge_basis = 'none' THEN 'included:charge_basis'
      WHEN t.charge_basis = 'cost' AND t.meter != 'llm_cost_nano_usd' THEN 'included:charge_basis'
      WHEN t.charge_basis = 'tokens' AND t.meter = 'llm_cost_nano_usd' THEN 'included:charge_basis'
      WHEN t.target_segment IS NULL AND @after_close = '' THEN 'parked:period_closed'
      WHEN target.stripe_customer IS NULL THEN 'parked:no_customer'
      WHEN COALESCE(i.own_items, 0) = 0 THEN 'parked:no_item'
      WHEN i.items > 1 THEN 'parked:two_items'
      WHEN t.target_segment IS NULL THEN @after_close
      ELSE 'billable:'
    END AS verdict
  FROM targeted AS t
  LEFT JOIN `${ledger}.current_segments` AS target
    ON target.segment_id = COALESCE(t.target_segment, t.segment_id)
  LEFT JOIN items AS i ON i.segment_id = COALESCE(t.target_segment, t.segment_id) AND i.meter = t.meter
),
-- How much of what is parked is taken back: all of it where it need not be parked any more, else what was not used.
unparked AS (
  SELECT
    j.*,
    SPLIT(j.verdict, ':')[OFFSET(0)] AS disposition,
    NULLIF(SPLIT(j.verdict, ':')[OFFSET(1)], '') AS reason,
    IF(
      STARTS_WITH(j.verdict, 'parked:'),
      LEAST(j.parked, GREATEST(0, j.settled + j.parked - j.used)),
      j.parked
    ) AS take_parked
  FROM judged AS j
),
moved AS (
  SELECT
    n.*,
    GREATEST(0, n.settled + n.parked - n.take_parked - n.used) AS take_settled,
    GREATEST(0, n.used - n.settled - (n.parked - n.take_parked)) AS added
  FROM unparked AS n
),
-- What is taken, by what it was sealed as; of what is settled the billed last.
ranked AS (
  SELECT
    g.tenant_id,
    g.meter,
    g.segment_id,
    g.usage_hour,
    g.charge,
    g.disposition,
    g.reason,
    g.stripe_customer,
    m.booked_at,
    m.late,
    IF(g.can_end, m.take_parked, m.take_settled) AS wanted,
    GREATEST(g.value, 0) AS value,
    SUM(GREATEST(g.value, 0)) OVER (
      PARTITION BY g.tenant_id, g.meter, g.segment_id, g.usage_hour, g.charge, g.can_end
      ORDER BY IF(g.disposition IN ('billable', 'one_off'), 1, 0), g.disposition, g.reason, g.stripe_customer
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS so_far
  FROM sealed AS g
  INNER JOIN moved AS m
    ON m.tenant_id = g.tenant_id
    AND m.meter = g.meter
    AND m.usage_hour = g.usage_hour
    AND m.charge = g.charge
    AND COALESCE(m.segment_id, '') = COALESCE(g.segment_id, '')
),
taken AS (
  SELECT k.*, LEAST(k.value, GREATEST(0, k.wanted - (k.so_far - k.value))) AS take
  FROM ranked AS k
),
hours AS (
  SELECT
    m.tenant_id,
    m.meter,
    m.usage_hour,
    SUM(m.used) AS used,
    SUM(m.settled + m.parked) AS sealed,
    SUM(m.take_parked + m.take_settled) AS take,
    SUM(m.added) < SUM(m.take_parked + m.take_settled) AS stopped
  FROM moved AS m
  GROUP BY m.tenant_id, m.meter, m.usage_hour
),
-- Billed usage of a closed period that moves: both sides wait for a person, who makes a credit note.
closed AS (
  SELECT t.tenant_id, t.meter, t.usage_hour
  FROM taken AS t
  WHERE t.take > 0 AND t.late AND t.disposition IN ('billable', 'one_off')
  GROUP BY t.tenant_id, t.meter, t.usage_hour
),
additions AS (
  SELECT
    m.*,
    h.take,
    SUM(m.added) OVER (
      PARTITION BY m.tenant_id, m.meter, m.usage_hour
      ORDER BY m.segment_id, m.charge
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS so_far
  FROM moved AS m
  INNER JOIN hours AS h ON h.tenant_id = m.tenant_id AND h.meter = m.meter AND h.usage_hour = m.usage_hour
  WHERE m.added > 0 AND NOT h.stopped
),
split AS (
  SELECT a.*, LEAST(a.added, GREATEST(0, a.take - (a.so_far - a.added))) AS corrected
  FROM additions AS a
)
SELECT
  FALSE AS stopped,
  t.tenant_id,
  t.meter,
  t.segment_id,
  t.usage_hour,
  t.charge,
  -t.take AS value,
  IF(c.tenant_id IS NOT NULL AND t.disposition IN ('billable', 'one_off'), 'parked', t.disposition) AS disposition,
  IF(c.tenant_id IS NOT NULL AND t.disposition IN ('billable', 'one_off'), 'boundary_after_close', t.reason) AS reason,
  t.stripe_customer,
  t.booked_at,
  t.late,
  TRUE AS correction,
  h.used,
  h.sealed
FROM taken AS t
INNER JOIN hours AS h ON h.tenant_id = t.tenant_id AND h.meter = t.meter AND h.usage_hour = t.usage_hour
LEFT JOIN closed AS c ON c.tenant_id = t.tenant_id AND c.meter = t.meter AND c.usage_hour = t.usage_hour
WHERE t.take > 0 AND NOT h.stopped
UNION ALL
SELECT
  FALSE AS stopped,
  s.tenant_id,
  s.meter,
  s.segment_id,
  s.usage_hour,
  s.charge,
  s.corrected AS value,
  IF(c.tenant_id IS NOT NULL, 'parked', s.disposition) AS disposition,
  IF(c.tenant_id IS NOT NULL, 'boundary_after_close', s.reason) AS reason,
  s.stripe_customer,
  s.booked_at,
  s.late,
  TRUE AS correction,
  s.used,
  s.settled + s.parked AS sealed
FROM split AS s
LEFT JOIN closed AS c ON c.tenant_id = s.tenant_id AND c.meter = s.meter AND c.usage_hour = s.usage_hour
WHERE s.corrected > 0
UNION ALL
SELECT
  FALSE AS stopped,
  s.tenant_id,
  s.meter,
  s.segment_id,
  s.usage_hour,
  s.charge,
  s.added - s.corrected AS value,
  s.disposition,
  s.reason,
  s.stripe_customer,
  s.booked_at,
  s.late,
  FALSE AS correction,
  s.used,
  s.settled + s.parked AS sealed
FROM split AS s
WHERE s.added > s.corrected
UNION ALL
SELECT
  TRUE AS stopped,
  h.tenant_id,
  h.meter,
  CAST(NULL AS STRING) AS segment_id,
  h.usage_hour,
  CAST(NULL AS STRING) AS charge,
  0 AS value,
  CAST(NULL AS STRING) AS disposition,
  CAST(NULL AS STRING) AS reason,
  CAST(NULL AS STRING) AS stripe_customer,
  h.usage_hour AS booked_at,
  FALSE AS late,
  FALSE AS correction,
  h.used,
  h.sealed
FROM hours AS h
WHERE h.stopped
