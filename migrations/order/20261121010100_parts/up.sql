-- Orders and their events in parts by month. The month is that of the id: a UUIDv7 carries its time, so the id alone tells
-- the part, and a key that has the id in it is unique over all parts (ORD-40; data.md 3.1).

-- The runtime's table of events, in parts; nothing is in it yet.
DROP TABLE events;
CREATE TABLE events (
  tenant_id   uuid        NOT NULL,
  stream_id   uuid        NOT NULL,
  version     int         NOT NULL CHECK (version > 0),
  xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
  gpos        bigint      GENERATED ALWAYS AS IDENTITY,
  event_id    uuid        NOT NULL,
  type        text        NOT NULL,
  topic       text        NOT NULL,
  payload     bytea       NOT NULL,
  meta        jsonb       NOT NULL,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, stream_id, version)
) PARTITION BY RANGE (stream_id);
CREATE INDEX events_log ON events (xid, gpos);
SELECT om_protect('events', 'append');
SELECT om_bus_reads();
-- Besides, our own worker measures how far projections are behind.
SELECT om_worker_reads('events', 'tenant_id, stream_id, version, xid, gpos, event_id, type, topic, payload, meta, occurred_at');

-- The least UUIDv7 of a moment.
CREATE FUNCTION om_id_at(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE
  RETURN (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- Makes the parts of orders and events up to so many months after this one; how many are new. For the owner: a job asks
-- every day. The first part also takes ids without a time, and there is no part for the rest: a row whose month nobody
-- made is an error, and a default part would be read in full whenever a part is made (data.md H23).
CREATE FUNCTION om_make_parts(p_ahead int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  part text;
  lower text;
  month timestamp;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('om_make_parts'));
  SET LOCAL lock_timeout = '2s';
  FOREACH parent IN ARRAY ARRAY['orders', 'events'] LOOP
    FOR ahead IN 0 .. p_ahead LOOP
      -- Months of UTC, whatever the session's zone.
      month := date_trunc('month', now() AT TIME ZONE 'UTC') + ahead * interval '1 month';
      part := parent || to_char(month, '_YYYY_MM');
      CONTINUE WHEN to_regclass(part) IS NOT NULL;
      lower := CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass)
                    THEN quote_literal(om_id_at(month AT TIME ZONE 'UTC')) ELSE 'MINVALUE' END;
      -- Beside the table first: attaching locks readers out for no moment.
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
      IF parent = 'orders' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 70)', part);
      END IF;
      EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
      EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
      EXECUTE format('CREATE POLICY tenant ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid) '
        'WITH CHECK (tenant_id = current_setting(''app.tenant'')::uuid)', part, current_schema());
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)', parent, part, lower,
        om_id_at((month + interval '1 month') AT TIME ZONE 'UTC'));
      made := made + 1;
    END LOOP;
  END LOOP;
  -- A part takes none of its parent's.
  PERFORM om_statistics();
  RETURN made;
END $$;
SELECT om_make_parts(3);

-- What a part ends with, so that people hear of it before there is none left.
CREATE FUNCTION parts_end() RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT to_timestamp((right(max(c.relname), 7) || '_01'), 'YYYY_MM_DD') + interval '1 month' FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'orders'::regclass);
END $$;
SELECT om_grant();
