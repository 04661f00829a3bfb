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

-- What is new on the shards that an owner holds: wanted events, and the last of each shard to move on behind.
--
-- The log's end is what is wanted and its statistics are always old: without the settings a plan may read it all, and half
-- of the time would go into planning.
CREATE FUNCTION poll(p_consumer text, p_owner uuid, p_types text[], p_limit int) RETURNS jsonb LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  RETURN (
    WITH scan AS (
      SELECT m.shard, m.fence, l.xid, l.gpos, l.tenant_id, l.stream_id, l.version, l.event_id, l.type, l.payload, l.meta,
             row_number() OVER (PARTITION BY m.shard ORDER BY l.xid DESC, l.gpos DESC) AS from_end
      FROM om_bus.cursors m
      CROSS JOIN LATERAL (
        SELECT * FROM om_bus.log l
        WHERE l.shard = m.shard AND (l.xid, l.gpos) > (m.xid, m.gpos)
          AND l.xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY l.xid, l.gpos LIMIT p_limit
      ) l
      WHERE m.consumer = p_consumer AND m.owner = p_owner AND m.lease_until > now()
    )
    SELECT jsonb_agg(jsonb_build_object('shard', shard, 'xid', xid::text, 'gpos', gpos, 'fence', fence,
             'tenant_id', tenant_id, 'stream_id', stream_id, 'version', version, 'event_id', event_id, 'type', type,
             'payload', CASE WHEN type = ANY (p_types) THEN encode(payload, 'base64') ELSE '' END, 'meta', meta)
             ORDER BY shard, scan.xid, gpos)
    FROM scan WHERE type = ANY (p_types) OR from_end = 1);
END $$;

-- Moves cursors on; how many of them still were ours.
CREATE FUNCTION acknowledge(p_consumer text, p_shards int[], p_xids text[], p_gpos bigint[], p_fences bigint[])
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  moved int;
BEGIN
  UPDATE om_bus.cursors c SET xid = p.xid::xid8, gpos = p.gpos
    FROM unnest(p_shards, p_xids, p_gpos, p_fences) AS p (shard, xid, gpos, fence)
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
