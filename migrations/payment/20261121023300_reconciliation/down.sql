DROP FUNCTION discrepancy_resolve, discrepancies_page, reconciliation_store, reconciliation_get, reconciliation_ours;
DROP TABLE discrepancies, reconciliations;
