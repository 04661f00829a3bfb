DROP TABLE cursors; DROP TABLE log;
