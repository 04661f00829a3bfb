DROP FUNCTION data_keys_due, data_key_rewrap, data_key_add, data_keys_of;
DROP TABLE data_keys;
