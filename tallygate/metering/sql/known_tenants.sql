-- Whether a tenant was ever billed or prepared to be: one row if so.
SELECT g.tenant_id
FROM `${ledger}.billing_segments` AS g
WHERE g.tenant_id = @tenant_id
GROUP BY g.tenant_id
