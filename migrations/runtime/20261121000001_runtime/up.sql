-- What every service's schema has: the event log that is its own outbox, idempotency, inbox, sagas, and the two helpers
-- that make a table a tenant's table. Runs with search_path = om_<service>; the roles om_<service> and
-- om_<service>_worker exist.

-- Makes a table a tenant's: row level security forced, policy loud without a tenant, no more grants than it needs.
CREATE FUNCTION om_protect(p_table text, p_mode text DEFAULT 'all') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  app text := current_schema();
BEGIN
  EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', p_table);
  EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', p_table);
  -- Without a tenant the cast fails: an error is louder than no rows.
  EXECUTE format('CREATE POLICY tenant ON %I TO %I USING (tenant_id = current_setting(''app.tenant'')::uuid) '
    'WITH CHECK (tenant_id = current_setting(''app.tenant'')::uuid)', p_table, app);
  IF p_mode = 'append' THEN
    EXECUTE format('GRANT SELECT, INSERT ON %I TO %I', p_table, app);
  ELSE
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', p_table, app);
  END IF;
END $$;

-- Lets the worker role read a table across tenants, to claim what is due.
CREATE FUNCTION om_worker_reads(p_table text, p_columns text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  worker text := current_schema() || '_worker';
BEGIN
  EXECUTE format('CREATE POLICY worker_reads ON %I FOR SELECT TO %I USING (true)', p_table, worker);
  EXECUTE format('GRANT SELECT (%s) ON %I TO %I', p_columns, p_table, worker);
END $$;

-- Lets whoever consumes events read this log, across tenants.
CREATE FUNCTION om_bus_reads() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  CREATE POLICY bus_reads ON events FOR SELECT TO om_bus_client USING (true);
  GRANT SELECT (tenant_id, stream_id, version, xid, gpos, event_id, type, payload, meta) ON events TO om_bus_client;
END $$;

-- Statistics that cost little: ANALYZE read 30,000 rows of each growing table and sorted whole documents, which was a sixth
-- of what PostgreSQL did for an order. Rows are found by key, so a fifth of the rows says enough, and nobody looks for a
-- document by its content.
CREATE FUNCTION om_statistics() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  target record;
BEGIN
  FOR target IN SELECT c.oid::regclass AS name, string_agg(format('ALTER COLUMN %I SET STATISTICS %s', a.attname,
        CASE WHEN a.atttypid IN ('jsonb'::regtype, 'bytea'::regtype) OR a.attndims > 0 THEN 0 ELSE 20 END), ', ') AS columns
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND coalesce(a.attstattarget, -1) < 0
      WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') GROUP BY c.oid LOOP
    EXECUTE format('ALTER TABLE %s %s', target.name, target.columns);
  END LOOP;
END $$;

-- Functions are for the service's two roles only. Each statement of a function is planned once per connection, and rows
-- are found by their keys whatever the arguments: planning anew cost a tenth of an order. A plan made for an empty table
-- is kept until the table is analyzed for the first time, so what must be right from the first row on names its rows one
-- by one (LATERAL with LIMIT; where a set is joined to what it changes, LIMIT with the set's own length: a limit that is
-- not known when the plan is made counts as a tenth, so a set counts as one row, which is looked up by its key, whatever
-- the statistics say of the tenants' mean size). A function that reads many rows at once says so with a plan_cache_mode
-- of its own.
CREATE FUNCTION om_grant() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  schema text := current_schema();
  name text;
BEGIN
  FOR name IN SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
    WHERE p.pronamespace = schema::regnamespace AND p.proname NOT LIKE 'om\_%'
      AND NOT coalesce(p.proconfig::text LIKE '%plan_cache_mode%', false) LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', name);
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', name);
    EXECUTE format('ALTER FUNCTION %s SET enable_hashjoin = off', name);
    EXECUTE format('ALTER FUNCTION %s SET enable_mergejoin = off', name);
  END LOOP;
  EXECUTE format('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', schema);
  EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO %I, %I', schema, schema, schema || '_worker');
  EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO %I', schema, schema);
  PERFORM om_statistics();
END $$;

-- The event row is the outbox row, and the bus: consumers read it where it is (om_bus.poll).
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
);
CREATE INDEX events_log ON events (xid, gpos);
SELECT om_protect('events', 'append');
SELECT om_bus_reads();

CREATE TABLE snapshots (
  tenant_id  uuid NOT NULL,
  stream_id  uuid NOT NULL,
  version    int  NOT NULL,
  schema_rev int  NOT NULL,
  state      bytea NOT NULL,
  PRIMARY KEY (tenant_id, stream_id)
);
SELECT om_protect('snapshots');

-- An event of some stream, to be appended.
CREATE TYPE happened AS (
  stream  uuid,
  version int,
  type    text,
  topic   text,
  payload bytea,
  meta    jsonb
);

-- What an aggregate looks like at a version, for somebody who saw it at the version before.
CREATE TYPE picture AS (
  stream   uuid,
  expected int,
  version  int,
  doc      jsonb
);

-- An event as it is read back.
CREATE TYPE recorded AS (
  event_id    uuid,
  type        text,
  version     int,
  occurred_at timestamptz,
  meta        jsonb,
  payload     bytea
);

CREATE TABLE idempotency (
  tenant_id   uuid        NOT NULL,
  scope       text        NOT NULL,
  key         text        NOT NULL,
  fingerprint bytea       NOT NULL,
  response    bytea,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, scope, key)
);
CREATE INDEX idempotency_age ON idempotency USING brin (created_at);
SELECT om_protect('idempotency');

CREATE TABLE inbox (
  tenant_id   uuid        NOT NULL,
  consumer    text        NOT NULL,
  event_id    uuid        NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, consumer, event_id)
);
CREATE INDEX inbox_age ON inbox USING brin (received_at);
SELECT om_protect('inbox');

-- Events whose handler failed, and everything of the same key that came after them.
CREATE TABLE parked (
  tenant_id   uuid        NOT NULL,
  consumer    text        NOT NULL,
  stream_id   uuid        NOT NULL,
  version     int         NOT NULL,
  event_id    uuid        NOT NULL,
  type        text        NOT NULL,
  payload     bytea       NOT NULL,
  meta        jsonb       NOT NULL,
  occurred_at timestamptz NOT NULL,
  attempts    int         NOT NULL DEFAULT 0,
  last_error  text        NOT NULL,
  next_at     timestamptz NOT NULL,
  dead        boolean     NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, consumer, stream_id, version, event_id)
);
SELECT om_protect('parked');
SELECT om_worker_reads('parked', 'tenant_id, consumer, stream_id, version, next_at, dead');

CREATE TABLE sagas (
  tenant_id  uuid        NOT NULL,
  saga_id    uuid        NOT NULL,
  kind       text        NOT NULL,
  def_rev    smallint    NOT NULL,
  shard      smallint    NOT NULL,
  seq        int         NOT NULL DEFAULT 0,
  step       smallint    NOT NULL DEFAULT 0,
  phase      text        NOT NULL DEFAULT 'do' CHECK (phase IN ('do', 'undo')),
  status     text        NOT NULL DEFAULT 'running'
             CHECK (status IN ('running', 'waiting', 'completed', 'compensated', 'attention', 'resolved')),
  attempts   int         NOT NULL DEFAULT 0,
  wake_at    timestamptz NOT NULL DEFAULT now(),
  signals    int         NOT NULL DEFAULT 0,
  undo_reason text,
  state      jsonb       NOT NULL,
  cause      jsonb       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- When people were told that it is stuck.
  alerted_at timestamptz,
  PRIMARY KEY (tenant_id, saga_id)
) WITH (fillfactor = 70);
CREATE INDEX sagas_due ON sagas (shard, wake_at) WHERE status IN ('running', 'waiting');
SELECT om_protect('sagas');
SELECT om_worker_reads('sagas', 'tenant_id, saga_id, kind, def_rev, step, shard, wake_at, status, alerted_at');

CREATE TABLE saga_log (
  tenant_id   uuid        NOT NULL,
  saga_id     uuid        NOT NULL,
  seq         int         NOT NULL,
  step        text        NOT NULL,
  phase       text        NOT NULL,
  outcome     text        NOT NULL,
  detail      text        NOT NULL,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  -- The operator who decided; steps have none.
  actor       text,
  PRIMARY KEY (tenant_id, saga_id, seq)
);
SELECT om_protect('saga_log', 'append');

CREATE TABLE shard_leases (
  shard       smallint PRIMARY KEY,
  owner       uuid,
  fence       bigint   NOT NULL DEFAULT 0,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  -- Left to run out, for somebody who has less.
  yields      boolean  NOT NULL DEFAULT false,
  -- Who would like to have it.
  bidder      uuid,
  bid_until   timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10);
INSERT INTO shard_leases (shard) SELECT generate_series(0, 15);

-- Appends to a stream; NULL when the stream is not at the expected version.
--
-- A transaction may get its number early and append late, behind an event of a younger one. It is then entered under that
-- one's number: so the order (xid, gpos) is that of the versions. A reader that stops below the oldest open transaction
-- has not come to a number that is not smaller than the writer's own.
CREATE FUNCTION event_append(p_tenant uuid, p_stream uuid, p_expected int, p_types text[], p_topics text[],
                             p_payloads bytea[], p_meta jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  actual int;
  youngest xid8;
BEGIN
  IF cardinality(p_types) = 0 THEN
    RETURN p_expected;
  END IF;
  SELECT e.version, e.xid INTO actual, youngest FROM events e WHERE e.tenant_id = p_tenant AND e.stream_id = p_stream
    ORDER BY e.version DESC LIMIT 1;
  IF coalesce(actual, 0) <> p_expected THEN
    RETURN NULL;
  END IF;
  -- A racing append between the check and here fails on the primary key: no event is ever swallowed (data.md H13).
  INSERT INTO events (tenant_id, stream_id, version, xid, event_id, type, topic, payload, meta)
    SELECT p_tenant, p_stream, p_expected + n, greatest(pg_current_xact_id(), youngest), gen_random_uuid(), p_types[n],
      p_topics[n], p_payloads[n], p_meta
    FROM generate_series(1, cardinality(p_types)) AS n;
  RETURN p_expected + cardinality(p_types);
END $$;

-- Appends to many streams at once, for a statement costs more to start than its rows cost; false, and nothing is
-- appended, when one of them is not at the version before.
CREATE FUNCTION events_append(p_tenant uuid, p_events happened[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  fits boolean;
  youngest xid8;
BEGIN
  -- The youngest number before any of them serves them all.
  SELECT bool_and(f.before = coalesce(e.version, 0)), max(e.xid) INTO fits, youngest
    FROM (SELECT stream, min(version) - 1 AS before FROM unnest(p_events) GROUP BY stream) AS f
    LEFT JOIN LATERAL (SELECT e.version, e.xid FROM events e WHERE e.tenant_id = p_tenant AND e.stream_id = f.stream
      ORDER BY e.version DESC LIMIT 1) e ON true;
  IF NOT fits THEN
    RETURN false;
  END IF;
  INSERT INTO events (tenant_id, stream_id, version, xid, event_id, type, topic, payload, meta)
    SELECT p_tenant, stream, version, greatest(pg_current_xact_id(), youngest), gen_random_uuid(), type, topic, payload, meta
    FROM unnest(p_events);
  RETURN true;
END $$;

-- Whether a stream that grew from one version to another passed a version that wants a snapshot: every fiftieth (ORD-38).
CREATE FUNCTION snapshot_due(p_version int, p_last int) RETURNS boolean LANGUAGE sql IMMUTABLE
  RETURN p_version / 50 > p_last / 50;

-- Keeps the state of a stream at a version; false when what is kept is as new. Call it in the transaction that appends.
CREATE FUNCTION snapshot_save(p_tenant uuid, p_stream uuid, p_version int, p_schema_rev int, p_state bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO snapshots AS s (tenant_id, stream_id, version, schema_rev, state)
    VALUES (p_tenant, p_stream, p_version, p_schema_rev, p_state)
    ON CONFLICT (tenant_id, stream_id) DO UPDATE
      SET version = excluded.version, schema_rev = excluded.schema_rev, state = excluded.state
      WHERE (excluded.version, excluded.schema_rev) > (s.version, s.schema_rev);
  RETURN FOUND;
END $$;

-- The events of a stream behind a version; with a schema revision, the snapshot of that revision and the events behind
-- it. A snapshot that is ahead of the log is not used (data.md H25). Stable: both are of one moment.
CREATE FUNCTION stream_read(p_tenant uuid, p_stream uuid, p_after int, p_schema_rev int,
                            OUT o_version int, OUT o_state bytea, OUT o_events recorded[]) LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT s.version, s.state INTO o_version, o_state FROM snapshots s
    JOIN events e ON e.tenant_id = s.tenant_id AND e.stream_id = s.stream_id AND e.version = s.version
    WHERE s.tenant_id = p_tenant AND s.stream_id = p_stream AND s.schema_rev = p_schema_rev AND s.version > p_after;
  o_events := ARRAY(
    SELECT ROW(e.event_id, e.type, e.version, e.occurred_at, e.meta, e.payload)::recorded FROM events e
    WHERE e.tenant_id = p_tenant AND e.stream_id = p_stream AND e.version > coalesce(o_version, p_after)
    ORDER BY e.version);
END $$;

-- What is new in this log behind a reader's place: how many events, the place of the last, and those of the wanted types,
-- in order. Nothing above the oldest open transaction is new yet, so a late commit is never skipped (data.md H1).
CREATE FUNCTION events_tail(p_xid xid8, p_gpos bigint, p_types text[], p_limit int,
                            OUT o_seen bigint, OUT o_xid xid8, OUT o_gpos bigint, OUT o_events jsonb)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  xids xid8[];
  places bigint[];
BEGIN
  -- The rows come in the order of the index; a sort or a window would copy every event.
  SELECT count(*), array_agg(e.xid), array_agg(e.gpos), jsonb_agg(jsonb_build_object('tenant_id', e.tenant_id,
      'stream_id', e.stream_id, 'version', e.version, 'event_id', e.event_id, 'type', e.type,
      'payload', encode(e.payload, 'base64'), 'meta', e.meta)) FILTER (WHERE e.type = ANY (p_types))
    INTO o_seen, xids, places, o_events
    FROM (SELECT e.xid, e.gpos, e.tenant_id, e.stream_id, e.version, e.event_id, e.type, e.payload, e.meta FROM events e
      WHERE (e.xid, e.gpos) > (p_xid, p_gpos) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
      ORDER BY e.xid, e.gpos LIMIT p_limit) e;
  o_xid := xids[o_seen];
  o_gpos := places[o_seen];
END $$;
-- Its callers are workers of other services, whose path leads elsewhere.
DO $$ BEGIN EXECUTE format('ALTER FUNCTION events_tail SET search_path = %I', current_schema()); END $$;

-- Starts a saga in the transaction of what it is about.
CREATE FUNCTION saga_start(p_tenant uuid, p_saga uuid, p_kind text, p_rev int, p_state jsonb, p_cause jsonb)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sagas (tenant_id, saga_id, kind, def_rev, shard, state, cause)
    VALUES (p_tenant, p_saga, p_kind, p_rev, abs(hashtext(p_saga::text)::bigint % 16), p_state, p_cause)
    ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

-- Makes sagas look again: now if they wait, at their next stop if they are busy; not if they have got beyond the step. A
-- reason asks them to undo themselves. How many heard it.
CREATE FUNCTION saga_wake(p_tenant uuid, p_sagas uuid[], p_until int, p_undo_reason text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  found tid[];
BEGIN
  -- Locked in the order of saga_advance, or the two of them wait for each other.
  found := ARRAY(SELECT s.at FROM (SELECT DISTINCT id FROM unnest(p_sagas) AS w (id) ORDER BY id) w CROSS JOIN LATERAL (
    SELECT s.ctid AS at FROM sagas s WHERE s.tenant_id = p_tenant AND s.saga_id = w.id
      -- Hidden in an expression: the index of due sagas must look useless here, it is full of dead entries.
      -- One that waits for a person in its forward half can still be turned back.
      AND ((s.status || '') IN ('running', 'waiting')
        OR p_undo_reason IS NOT NULL AND s.status = 'attention' AND s.phase = 'do')
      AND (p_until IS NULL OR s.step <= p_until) LIMIT 1 FOR UPDATE) s);
  IF cardinality(found) > 0 THEN
    UPDATE sagas SET signals = signals + 1, undo_reason = coalesce(undo_reason, p_undo_reason),
      status = CASE WHEN status = 'attention' THEN 'running' ELSE status END,
      wake_at = CASE WHEN status = 'waiting' OR p_undo_reason IS NOT NULL THEN now() ELSE wake_at END
      WHERE ctid = ANY (found);
  END IF;
  RETURN cardinality(found);
END $$;

-- Which sagas are due on the shards that a worker holds, about the oldest first; [[tenant, saga], ...]. Of each shard only
-- its part is looked at, or most of what is found would be thrown away.
CREATE FUNCTION saga_due(p_owner uuid, p_busy uuid[], p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(d.tenant_id, d.saga_id)), '[]') FROM (
    SELECT s.tenant_id, s.saga_id FROM shard_leases l
    CROSS JOIN LATERAL (SELECT s.tenant_id, s.saga_id, s.wake_at FROM sagas s WHERE s.shard = l.shard AND s.status IN ('running', 'waiting')
      -- Busy ones are the oldest, so each is met: in a hash, for an array is searched from its beginning.
      AND s.wake_at <= now() AND s.saga_id NOT IN (SELECT unnest(p_busy)) ORDER BY s.wake_at LIMIT (p_limit + 7) / 8) s
    WHERE l.owner = p_owner AND l.lease_until > now() AND NOT l.yields ORDER BY s.wake_at LIMIT p_limit) d);
END $$;

-- Sagas of one tenant as they stand, if they are still due; sets the tenant itself.
CREATE FUNCTION saga_load(p_tenant uuid, p_sagas uuid[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(s)), '[]') FROM unnest(p_sagas) AS w (id) CROSS JOIN LATERAL (
    SELECT saga_id, kind, def_rev, seq, step, phase, attempts, signals, undo_reason, state, cause FROM sagas
    -- Hidden in an expression, see saga_wake.
    WHERE tenant_id = p_tenant AND saga_id = w.id AND (status || '') IN ('running', 'waiting') AND wake_at <= now() LIMIT 1) s);
END $$;

-- What a saga does next, as its engine asks for it, and what its row says that it overrides.
CREATE TYPE saga_move AS (
  n bigint, saga uuid, seq int, step smallint, phase text, status text, attempts int, delay_ms bigint, state jsonb, signals int,
  undo_reason text, meta jsonb, stream uuid, expected int, types text[], topics text[], payloads text[], doc jsonb,
  log_step text, log_phase text, log_outcome text, log_detail text,
  turn bigint, at tid, had_signals int, had_phase text, had_reason text
);

-- Moves sagas of one tenant on, each with the events of its step; per item: ok, look (a signal came in between), lost
-- (somebody else moved it) or conflict (its aggregate has another version; nothing was changed). A set, for a statement
-- costs more to start than its rows cost.
CREATE FUNCTION saga_advance(p_tenant uuid, p_items jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  moves saga_move[];
  move saga_move;
  pictures picture[];
  streams uuid[];
  verdicts text[] := array_fill('lost'::text, ARRAY[jsonb_array_length(p_items)]);
BEGIN
  SELECT coalesce(array_agg(ROW(h.*)::saga_move ORDER BY h.n), '{}') INTO moves FROM (
    SELECT i.ordinality AS n, i.saga, i.seq, i.step, i.phase, i.status, i.attempts, i.delay_ms, i.state, i.signals,
      i.undo_reason, i.meta, i.stream, i.expected, i.types, i.topics, i.payloads, i.doc, i.log_step, i.log_phase,
      i.log_outcome, i.log_detail, row_number() OVER (PARTITION BY i.stream ORDER BY i.ordinality) AS turn, s.*
    -- Locked by their ids, as saga_wake does.
    FROM (SELECT * FROM jsonb_populate_recordset(NULL::saga_move, p_items) WITH ORDINALITY ORDER BY saga) AS i
    CROSS JOIN LATERAL (SELECT s.ctid, s.signals AS had_signals, s.phase AS had_phase, s.undo_reason AS had_reason FROM sagas s
      WHERE s.tenant_id = p_tenant AND s.saga_id = i.saga AND s.seq = i.seq LIMIT 1 FOR UPDATE) s) h;
  -- Of two sagas at one aggregate the second looks again.
  SELECT array_agg(ROW(m.stream, m.expected, m.expected + cardinality(m.types), m.doc)::picture) INTO pictures
    FROM unnest(moves) AS m WHERE m.stream IS NOT NULL AND m.turn = 1;
  IF pictures IS NOT NULL THEN
    streams := project(p_tenant, pictures);
  END IF;
  FOREACH move IN ARRAY moves LOOP
    -- Who goes on needs no signal but the wish to undo: what woke him he finds out when he waits.
    verdicts[move.n] := CASE WHEN move.stream IS NOT NULL AND NOT (move.turn = 1 AND move.stream = ANY (streams)) THEN 'conflict'
      WHEN move.had_signals > move.signals AND (move.status = 'waiting' OR move.had_reason IS NOT NULL) THEN 'look' ELSE 'ok' END;
  END LOOP;
  IF 'conflict' = ANY (verdicts) THEN
    moves := ARRAY(SELECT m FROM unnest(moves) AS m WHERE verdicts[m.n] <> 'conflict');
  END IF;
  IF NOT events_append(p_tenant, ARRAY(
      SELECT ROW(m.stream, m.expected + k, m.types[k], m.topics[k], decode(m.payloads[k], 'base64'), m.meta)::happened
      FROM unnest(moves) AS m CROSS JOIN LATERAL generate_series(1, cardinality(m.types)) AS k WHERE m.stream IS NOT NULL)) THEN
    RAISE EXCEPTION 'projection and events disagree for one of %', streams;
  END IF;
  UPDATE sagas s SET seq = m.seq + 1, step = m.step, phase = m.phase, status = m.status, attempts = m.attempts,
      -- Most steps leave it as it is, and say so by leaving it out.
      state = coalesce(m.state, s.state),
      -- Going on after all: the wish to undo was heard and refused.
      undo_reason = CASE WHEN m.had_phase = 'undo' AND m.phase = 'do' THEN NULL
                         ELSE coalesce(m.had_reason, m.undo_reason) END,
      -- What is due and goes on at once stays due since then: a row whose indexed columns stand still is cheap to write.
      wake_at = CASE WHEN m.status = 'running' AND m.delay_ms = 0 AND s.wake_at <= now() THEN s.wake_at
                     WHEN m.had_signals > m.signals THEN now() ELSE now() + m.delay_ms * interval '1 ms' END
    FROM (SELECT * FROM unnest(moves) LIMIT cardinality(moves)) AS m
    -- Locked above, so it is still there.
    WHERE s.ctid = m.at;
  INSERT INTO saga_log (tenant_id, saga_id, seq, step, phase, outcome, detail)
    SELECT p_tenant, m.saga, m.seq + 1, m.log_step, m.log_phase, m.log_outcome, m.log_detail FROM unnest(moves) AS m;
  RETURN to_jsonb(verdicts);
END $$;

-- NULL: fresh; else one byte (0 another request, 1 the same) and the stored response.
CREATE FUNCTION idempotency_claim(p_tenant uuid, p_scope text, p_key text, p_fingerprint bytea) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
  found_row idempotency%ROWTYPE;
BEGIN
  -- Waits for a first call that is still in flight, so that a twin sees its result and never a hole.
  INSERT INTO idempotency (tenant_id, scope, key, fingerprint) VALUES (p_tenant, p_scope, p_key, p_fingerprint)
    ON CONFLICT DO NOTHING;
  IF FOUND THEN
    RETURN NULL;
  END IF;
  SELECT * INTO found_row FROM idempotency WHERE tenant_id = p_tenant AND scope = p_scope AND key = p_key;
  IF found_row.fingerprint <> p_fingerprint THEN
    RETURN '\x00';
  END IF;
  RETURN '\x01' || coalesce(found_row.response, '');
END $$;

CREATE FUNCTION idempotency_store(p_tenant uuid, p_scope text, p_key text, p_response bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE idempotency SET response = p_response WHERE tenant_id = p_tenant AND scope = p_scope AND key = p_key;
  RETURN FOUND;
END $$;

-- Remembers events, in order: 0 seen before; 1 fresh; 2 an earlier event of the same key is parked, this one must queue
-- behind it and is not remembered.
CREATE FUNCTION inbox_claim(p_tenant uuid, p_consumer text, p_streams uuid[], p_events uuid[]) RETURNS int[]
LANGUAGE plpgsql AS $$
DECLARE
  behind uuid[];
  claims int[];
BEGIN
  -- The cursor moves in a later commit that waits for the disk: what a crash takes from this transaction comes again.
  PERFORM set_config('synchronous_commit', 'off', true);
  behind := ARRAY(SELECT s.stream FROM unnest(p_streams) AS s (stream) CROSS JOIN LATERAL (
    SELECT FROM parked WHERE tenant_id = p_tenant AND consumer = p_consumer AND stream_id = s.stream LIMIT 1) p);
  WITH fresh AS (
    -- Sorted, for two processes may hold the same events for a moment.
    INSERT INTO inbox (tenant_id, consumer, event_id)
      SELECT p_tenant, p_consumer, e.event FROM unnest(p_streams, p_events) AS e (stream, event)
      WHERE NOT e.stream = ANY (behind) ORDER BY e.event
      ON CONFLICT DO NOTHING RETURNING event_id
  ) SELECT array_agg(CASE WHEN e.stream = ANY (behind) THEN 2 WHEN f.event_id IS NULL THEN 0 ELSE 1 END ORDER BY e.n) INTO claims
    FROM unnest(p_streams, p_events) WITH ORDINALITY AS e (stream, event, n) LEFT JOIN fresh f ON f.event_id = e.event;
  RETURN claims;
END $$;

-- For an operator: dead letters of a tenant are tried again, of one stream or of all; returns how many.
CREATE FUNCTION parked_revive(p_tenant uuid, p_stream uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  revived int;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE parked SET dead = false, attempts = 0, next_at = now()
    WHERE tenant_id = p_tenant AND dead AND (p_stream IS NULL OR stream_id = p_stream);
  GET DIAGNOSTICS revived = ROW_COUNT;
  RETURN revived;
END $$;

-- Worker duties on tables without a tenant, and the housekeeping of what has a life time.
DO $$
DECLARE
  worker text := current_schema() || '_worker';
BEGIN
  EXECUTE format('GRANT SELECT, UPDATE ON shard_leases TO %I', worker);
  EXECUTE format('CREATE POLICY worker_prunes ON idempotency FOR DELETE TO %I USING (true)', worker);
  EXECUTE format('CREATE POLICY worker_sees_age ON idempotency FOR SELECT TO %I USING (true)', worker);
  EXECUTE format('GRANT DELETE, SELECT (ctid, created_at) ON idempotency TO %I', worker);
  EXECUTE format('CREATE POLICY worker_prunes ON inbox FOR DELETE TO %I USING (true)', worker);
  EXECUTE format('CREATE POLICY worker_sees_age ON inbox FOR SELECT TO %I USING (true)', worker);
  EXECUTE format('GRANT DELETE, SELECT (ctid, received_at) ON inbox TO %I', worker);
END $$;
SELECT om_grant();
GRANT EXECUTE ON FUNCTION events_tail TO om_bus_client;
