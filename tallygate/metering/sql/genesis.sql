-- Names the ledger, once.
INSERT INTO `${ledger}.ledger_epochs` (ledger_epoch, created_at)
SELECT g.ledger_epoch, g.created_at
FROM (SELECT @ledger_epoch AS ledger_epoch, @now AS created_at) AS g
WHERE NOT EXISTS (SELECT 1 FROM `${ledger}.ledger_epochs` AS e)
