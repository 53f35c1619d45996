-- What a seal of the window would add, row by row, and the hours that it would leave alone: for people.
SELECT
  u.usage_hour,
  u.tenant_id,
  u.meter,
  u.segment_id,
  u.value,
  u.disposition,
  u.reason,
  u.late,
  u.correction,
  u.stopped,
  u.used,
  u.sealed
FROM (
${due}
) AS u
ORDER BY u.usage_hour, u.tenant_id, u.meter, u.correction, u.value, u.segment_id
