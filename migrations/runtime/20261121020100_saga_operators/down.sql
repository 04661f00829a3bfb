DROP FUNCTION saga_lease, saga_alert, saga_stuck, saga_operate;
DROP INDEX sagas_attention;
