-- The embedded bus: a log in shards, tailed by consumers. A topic's order holds within a shard; a key is always in the
-- same shard. Readers never go past the oldest transaction that is still open (data.md H1), so a late commit is never
-- skipped.
CREATE TABLE log (
  shard        smallint    NOT NULL,
  xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
  gpos         bigint      GENERATED ALWAYS AS IDENTITY,
  topic        text        NOT NULL,
  tenant_id    uuid        NOT NULL,
  stream_id    uuid        NOT NULL,
  version      int         NOT NULL,
  event_id     uuid        NOT NULL,
  type         text        NOT NULL,
  payload      bytea       NOT NULL,
  meta         jsonb       NOT NULL,
  occurred_at  timestamptz NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (shard, xid, gpos)
);
CREATE INDEX log_age ON log USING brin (published_at);

CREATE TABLE cursors (
  consumer    text     NOT NULL,
  shard       smallint NOT NULL,
  xid         xid8     NOT NULL DEFAULT '0',
  gpos        bigint   NOT NULL DEFAULT 0,
  owner       uuid,
  fence       bigint   NOT NULL DEFAULT 0,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (consumer, shard)
) WITH (fillfactor = 10);

-- The log carries every tenant, so no request role may touch it: only the workers that relay and consume.
ALTER TABLE log ENABLE ROW LEVEL SECURITY;
ALTER TABLE log FORCE ROW LEVEL SECURITY;
CREATE POLICY worker_reads ON log FOR SELECT TO om_bus_client USING (true);
CREATE POLICY worker_writes ON log FOR INSERT TO om_bus_client WITH CHECK (true);
CREATE POLICY worker_prunes ON log FOR DELETE TO om_bus_client USING (published_at < now() - interval '7 days');
GRANT USAGE ON SCHEMA om_bus TO om_bus_client;
GRANT SELECT, INSERT, DELETE ON log TO om_bus_client;
GRANT SELECT, INSERT, UPDATE ON cursors TO om_bus_client;
