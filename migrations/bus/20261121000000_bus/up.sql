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
-- Read by its key alone; to analyze what grows so fast cost as much as a consumer.
ALTER TABLE log ALTER COLUMN shard SET STATISTICS 20, ALTER COLUMN xid SET STATISTICS 20, ALTER COLUMN gpos SET STATISTICS 20,
  ALTER COLUMN topic SET STATISTICS 0, ALTER COLUMN tenant_id SET STATISTICS 0, ALTER COLUMN stream_id SET STATISTICS 0,
  ALTER COLUMN version SET STATISTICS 0, ALTER COLUMN event_id SET STATISTICS 0, ALTER COLUMN type SET STATISTICS 0,
  ALTER COLUMN payload SET STATISTICS 0, ALTER COLUMN meta SET STATISTICS 0, ALTER COLUMN occurred_at SET STATISTICS 0,
  ALTER COLUMN published_at SET STATISTICS 20;

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

-- Takes or keeps the shards nobody else holds. The fence rises with every change of owner: a zombie's acknowledgement
-- then hits no row.
CREATE FUNCTION lease(p_consumer text, p_owner uuid, p_shards int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO om_bus.cursors (consumer, shard) SELECT p_consumer, generate_series(0, p_shards - 1) ON CONFLICT DO NOTHING;
  UPDATE om_bus.cursors SET owner = p_owner, lease_until = now() + interval '5 s',
    fence = fence + CASE WHEN owner = p_owner THEN 0 ELSE 1 END
    WHERE consumer = p_consumer AND (owner = p_owner OR lease_until < now());
  RETURN FOUND;
END $$;

-- What is new on the shards that an owner holds: per shard the wanted events in order, and how far it was read.
--
-- The log's end is what is wanted and its statistics are always old: without the settings a plan may read it all, and half
-- of the time would go into planning.
CREATE FUNCTION poll(p_consumer text, p_owner uuid, p_types text[], p_limit int) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  RETURN (
    SELECT jsonb_agg(jsonb_build_object('shard', m.shard, 'fence', m.fence, 'xid', b.xids[b.seen]::text, 'gpos', b.gposes[b.seen],
             'events', coalesce(b.events, '[]')))
    FROM om_bus.cursors m
    CROSS JOIN LATERAL (
      -- The rows come in the order of the key; a sort or a window would copy every event.
      SELECT count(*) AS seen, array_agg(l.xid) AS xids, array_agg(l.gpos) AS gposes,
        jsonb_agg(jsonb_build_object('tenant_id', l.tenant_id, 'stream_id', l.stream_id, 'version', l.version, 'event_id', l.event_id,
          'type', l.type, 'payload', encode(l.payload, 'base64'), 'meta', l.meta)) FILTER (WHERE l.type = ANY (p_types)) AS events
      FROM (SELECT * FROM om_bus.log l
        WHERE l.shard = m.shard AND (l.xid, l.gpos) > (m.xid, m.gpos)
          AND l.xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY l.xid, l.gpos LIMIT p_limit) l
    ) b
    WHERE m.consumer = p_consumer AND m.owner = p_owner AND m.lease_until > now() AND b.seen > 0);
END $$;

-- Moves cursors on; how many of them still were ours.
CREATE FUNCTION acknowledge(p_consumer text, p_shards int[], p_xids text[], p_gpos bigint[], p_fences bigint[])
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  moved int;
BEGIN
  UPDATE om_bus.cursors c SET xid = p.xid::xid8, gpos = p.gpos
    FROM (SELECT * FROM unnest(p_shards, p_xids, p_gpos, p_fences) LIMIT cardinality(p_shards)) AS p (shard, xid, gpos, fence)
    WHERE c.consumer = p_consumer AND c.shard = p.shard AND c.fence = p.fence;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END $$;

-- The log carries every tenant, so no request role may touch it: only the workers that relay and consume.
ALTER TABLE log ENABLE ROW LEVEL SECURITY;
ALTER TABLE log FORCE ROW LEVEL SECURITY;
CREATE POLICY worker_reads ON log FOR SELECT TO om_bus_client USING (true);
CREATE POLICY worker_writes ON log FOR INSERT TO om_bus_client WITH CHECK (true);
CREATE POLICY worker_prunes ON log FOR DELETE TO om_bus_client USING (published_at < now() - interval '7 days');
GRANT USAGE ON SCHEMA om_bus TO om_bus_client;
GRANT SELECT, INSERT, DELETE ON log TO om_bus_client;
GRANT SELECT, INSERT, UPDATE ON cursors TO om_bus_client;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA om_bus FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA om_bus TO om_bus_client;
