-- The embedded bus: consumers tail the event logs of the services where they are, each from the place it has come to
-- (events_tail, which every service's schema has).
CREATE TABLE cursors (
  consumer    text   NOT NULL,
  -- The schema whose log is read.
  source      text   NOT NULL,
  xid         xid8   NOT NULL DEFAULT '0',
  gpos        bigint NOT NULL DEFAULT 0,
  owner       uuid,
  fence       bigint NOT NULL DEFAULT 0,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (consumer, source)
) WITH (fillfactor = 10);

-- Takes or keeps the logs nobody else reads for this consumer. The fence rises with every change of owner: a zombie's
-- acknowledgement then hits no row.
CREATE FUNCTION lease(p_consumer text, p_owner uuid, p_sources text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO om_bus.cursors (consumer, source) SELECT p_consumer, s FROM unnest(p_sources) AS s ORDER BY s ON CONFLICT DO NOTHING;
  UPDATE om_bus.cursors SET owner = p_owner, lease_until = now() + interval '5 s',
    fence = fence + CASE WHEN owner = p_owner THEN 0 ELSE 1 END
    WHERE consumer = p_consumer AND (owner = p_owner OR lease_until < now());
  RETURN FOUND;
END $$;

-- What is new in the logs that an owner reads: per log the wanted events in order, and how far it was read.
CREATE FUNCTION poll(p_consumer text, p_owner uuid, p_types text[], p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  place om_bus.cursors%ROWTYPE;
  tail record;
  tails jsonb[];
BEGIN
  FOR place IN SELECT * FROM om_bus.cursors WHERE consumer = p_consumer AND owner = p_owner AND lease_until > now() LOOP
    EXECUTE format('SELECT * FROM %I.events_tail($1, $2, $3, $4)', place.source) INTO tail
      USING place.xid, place.gpos, p_types, p_limit;
    IF tail.o_seen > 0 THEN
      tails := tails || jsonb_build_object('source', place.source, 'fence', place.fence, 'xid', tail.o_xid::text,
        'gpos', tail.o_gpos, 'events', coalesce(tail.o_events, '[]'));
    END IF;
  END LOOP;
  RETURN to_jsonb(tails);
END $$;

-- Moves cursors on; how many of them still were ours. Where nothing was handled a crash takes nothing but a look.
CREATE FUNCTION acknowledge(p_consumer text, p_sources text[], p_xids text[], p_gpos bigint[], p_fences bigint[],
                            p_handled boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  moved int;
BEGIN
  IF NOT p_handled THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  END IF;
  UPDATE om_bus.cursors c SET xid = p.xid::xid8, gpos = p.gpos
    FROM (SELECT * FROM unnest(p_sources, p_xids, p_gpos, p_fences) LIMIT cardinality(p_sources)) AS p (source, xid, gpos, fence)
    WHERE c.consumer = p_consumer AND c.source = p.source AND c.fence = p.fence;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END $$;

-- The logs carry every tenant, so no request role may read them across tenants: only the workers that consume.
GRANT USAGE ON SCHEMA om_bus TO om_bus_client;
GRANT SELECT, INSERT, UPDATE ON cursors TO om_bus_client;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA om_bus FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA om_bus TO om_bus_client;
