DROP FUNCTION parked_revive, inbox_claim, idempotency_store, idempotency_claim, saga_advance, saga_load, saga_due, saga_wake, saga_start, events_tail,
  stream_read, snapshot_save, snapshot_due, events_append, event_append;
DROP TYPE recorded, picture, happened, saga_move;
DROP TABLE shard_leases, saga_log, sagas, parked, inbox, idempotency, snapshots, events;
DROP FUNCTION om_grant, om_statistics, om_bus_reads, om_worker_reads, om_protect;
