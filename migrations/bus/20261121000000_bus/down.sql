DROP FUNCTION acknowledge, poll, lease;
DROP TABLE cursors;
