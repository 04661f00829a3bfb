DROP FUNCTION wms_counts_due, wms_counts_take, wms_counts_again;
DROP TABLE wms_counts;
