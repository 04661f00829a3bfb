-- Work that warehouses do for orders, and the last word heard from the warehouse system about it (FUL-03).

-- One row per order: the lock that makes create and cancel take turns, and the mark that refuses a late create.
CREATE TABLE orders (
  tenant_id uuid    NOT NULL,
  order_id  uuid    NOT NULL,
  -- Wishes of lower revisions are taken back; the highest number there is when the order is cancelled for good.
  revoked   int     NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, order_id)
);
SELECT om_protect('orders');

CREATE TABLE fulfillments (
  tenant_id      uuid        NOT NULL,
  fulfillment_id uuid        NOT NULL,
  order_id       uuid        NOT NULL,
  warehouse      text        NOT NULL,
  -- Rises when the order changes: what was cancelled stays as it is, and other work takes its place.
  revision       int         NOT NULL CHECK (revision >= 0),
  -- 1 submitting, 2 submitted, 3 picking, 4 packed, 5 shipped, 6 cancelled
  state          smallint    NOT NULL CHECK (state BETWEEN 1 AND 6),
  version        int         NOT NULL CHECK (version > 0),
  body           jsonb       NOT NULL,
  -- Sealed with the tenant's key (PAY-12).
  ship_to        bytea       NOT NULL,
  wms_order_id   text        NOT NULL DEFAULT '',
  observed_at    timestamptz,
  created_at     timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, fulfillment_id),
  CONSTRAINT one_per_order_warehouse_and_revision UNIQUE (tenant_id, order_id, warehouse, revision)
) WITH (fillfactor = 70);
CREATE INDEX fulfillments_open ON fulfillments (tenant_id, fulfillment_id) WHERE state IN (2, 3);
SELECT om_protect('fulfillments');
SELECT om_worker_reads('fulfillments', 'tenant_id, state');

-- Who polls the warehouse system for a tenant, until when, and when it is the tenant's turn again (FUL-02).
CREATE TABLE wms_leases (
  tenant_id  uuid        NOT NULL,
  owner      uuid,
  held_until timestamptz NOT NULL DEFAULT '-infinity',
  next_at    timestamptz NOT NULL DEFAULT '-infinity',
  failures   int         NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);
SELECT om_protect('wms_leases');
SELECT om_worker_reads('wms_leases', 'tenant_id, held_until, next_at');

CREATE FUNCTION fulfillment_json(f fulfillments) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('id', f.fulfillment_id, 'order', f.order_id, 'warehouse', f.warehouse,
    'revision', f.revision, 'state', f.state,
    'version', f.version, 'body', f.body, 'ship_to', encode(f.ship_to, 'hex'), 'wms_order_id', f.wms_order_id, 'observed_at', f.observed_at,
    'created_at', f.created_at);
$$;

-- A wish for work, with the event that tells of it; ship_to and payload in hex.
CREATE TYPE fulfillment_wish AS (
  id uuid, order_id uuid, warehouse text, revision int, body jsonb, ship_to text, at timestamptz, type text, topic text,
  payload text, meta jsonb
);

-- Stores wishes for work, each once per order, warehouse and revision, in place of one that was cancelled; in order:
-- [{"outcome": "new"|"known"|"cancelled", "fulfillment": …}], without the fulfillment when it is new: it is what was wished
-- for. Work that is not cancelled stands, whatever the revision.
CREATE FUNCTION fulfillments_intend(p_tenant uuid, p_wishes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  wishes fulfillment_wish[] := ARRAY(SELECT w FROM jsonb_populate_recordset(NULL::fulfillment_wish, p_wishes) AS w);
  known fulfillments[];
  bars int[];
  made int;
  fresh uuid[];
BEGIN
  INSERT INTO orders (tenant_id, order_id) SELECT DISTINCT p_tenant, w.order_id FROM unnest(wishes) AS w ORDER BY 2 ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS made = ROW_COUNT;
  -- Whose row is new is locked by that. In the order of ids, so that two batches never wait for each other in a ring.
  IF made < (SELECT count(DISTINCT w.order_id) FROM unnest(wishes) AS w) THEN
    PERFORM FROM (SELECT DISTINCT w.order_id FROM unnest(wishes) AS w ORDER BY 1) AS w
      CROSS JOIN LATERAL (SELECT FROM orders WHERE tenant_id = p_tenant AND order_id = w.order_id LIMIT 1 FOR UPDATE) o;
  END IF;
  -- A new statement sees what the locks waited for.
  SELECT array_agg(o.revoked ORDER BY w.ordinality), array_agg(k.f ORDER BY w.ordinality) INTO bars, known
    FROM unnest(wishes) WITH ORDINALITY AS w
    CROSS JOIN LATERAL (SELECT revoked FROM orders WHERE tenant_id = p_tenant AND order_id = w.order_id LIMIT 1) o
    LEFT JOIN LATERAL (SELECT f FROM fulfillments f
      WHERE tenant_id = p_tenant AND order_id = w.order_id AND warehouse = w.warehouse ORDER BY revision DESC LIMIT 1) k ON true;
  WITH stored AS (
    INSERT INTO fulfillments AS f (tenant_id, fulfillment_id, order_id, warehouse, revision, state, version, body, ship_to, created_at)
      SELECT p_tenant, w.id, w.order_id, w.warehouse, w.revision, 1, 1, w.body, decode(w.ship_to, 'hex'), w.at
      FROM unnest(wishes) WITH ORDINALITY AS w
      WHERE w.revision >= bars[w.ordinality] AND (known[w.ordinality].fulfillment_id IS NULL
        OR known[w.ordinality].state = 6 AND w.revision > known[w.ordinality].revision)
      RETURNING f.fulfillment_id
  ) SELECT coalesce(array_agg(fulfillment_id), '{}') INTO fresh FROM stored;
  IF NOT events_append(p_tenant, ARRAY(SELECT ROW(w.id, 1, w.type, w.topic, decode(w.payload, 'hex'), w.meta)::happened
      FROM unnest(wishes) AS w WHERE w.id = ANY (fresh))) THEN
    RAISE EXCEPTION 'a new fulfillment already has events';
  END IF;
  INSERT INTO wms_leases (tenant_id) SELECT p_tenant WHERE cardinality(fresh) > 0 ON CONFLICT DO NOTHING;
  RETURN (SELECT jsonb_agg(CASE
      WHEN w.id = ANY (fresh) THEN jsonb_build_object('outcome', 'new')
      WHEN known[w.ordinality].fulfillment_id IS NULL THEN jsonb_build_object('outcome', 'cancelled', 'fulfillment', NULL)
      ELSE jsonb_build_object('outcome', CASE WHEN w.revision < bars[w.ordinality] OR known[w.ordinality].state = 6 THEN 'cancelled' ELSE 'known' END,
        'fulfillment', fulfillment_json(known[w.ordinality])) END ORDER BY w.ordinality)
    FROM unnest(wishes) WITH ORDINALITY AS w);
END $$;

-- A move of a fulfillment that is still at the expected version; payloads in hex.
CREATE TYPE fulfillment_step AS (
  id uuid, expected int, state smallint, wms_order_id text, observed timestamptz, types text[], topics text[], payloads text[],
  meta jsonb
);

-- Moves fulfillments, in order: true, or false when somebody else was faster. Of two moves of one the second comes too late.
CREATE FUNCTION fulfillments_move(p_tenant uuid, p_moves jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  turns bigint[] := ARRAY(SELECT row_number() OVER (PARTITION BY m.value->>'id' ORDER BY m.ordinality)
    FROM jsonb_array_elements(p_moves) WITH ORDINALITY AS m ORDER BY m.ordinality);
  -- In the order of ids, so that two answers about the same rows never wait for each other in a ring.
  moves fulfillment_step[] := ARRAY(SELECT jsonb_populate_record(NULL::fulfillment_step, m.value)
    FROM jsonb_array_elements(p_moves) WITH ORDINALITY AS m WHERE turns[m.ordinality] = 1 ORDER BY m.value->>'id');
  moved uuid[];
BEGIN
  WITH done AS (
    UPDATE fulfillments f SET state = m.state, version = m.expected + cardinality(m.types),
        wms_order_id = coalesce(nullif(m.wms_order_id, ''), f.wms_order_id), observed_at = greatest(f.observed_at, m.observed)
      FROM (SELECT * FROM unnest(moves) LIMIT cardinality(moves)) AS m
      WHERE f.tenant_id = p_tenant AND f.fulfillment_id = m.id AND f.version = m.expected RETURNING f.fulfillment_id
  ) SELECT coalesce(array_agg(fulfillment_id), '{}') INTO moved FROM done;
  IF NOT events_append(p_tenant, ARRAY(
      SELECT ROW(m.id, m.expected + k, m.types[k], m.topics[k], decode(m.payloads[k], 'hex'), m.meta)::happened
      FROM unnest(moves) AS m CROSS JOIN LATERAL generate_series(1, cardinality(m.types)) AS k WHERE m.id = ANY (moved))) THEN
    RAISE EXCEPTION 'the events of a fulfillment are not at its version';
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(turns[m.ordinality] = 1 AND (m.value->>'id')::uuid = ANY (moved) ORDER BY m.ordinality), '[]')
    FROM jsonb_array_elements(p_moves) WITH ORDINALITY AS m);
END $$;

-- Writes what one answer of the warehouse system changed, all of it in one transaction; returns how many moved.
CREATE FUNCTION fulfillment_fold(p_tenant uuid, p_moves jsonb, p_heard uuid[], p_observed timestamptz,
                                 p_stale timestamptz) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  moved int;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  moved := (SELECT count(*) FROM jsonb_array_elements(fulfillments_move(p_tenant, p_moves)) AS m WHERE m::boolean);
  -- What has no news is touched only when its time of observation has grown old: a poll should not rewrite every row.
  UPDATE fulfillments SET observed_at = p_observed
    WHERE tenant_id = p_tenant AND fulfillment_id = ANY (p_heard)
      AND (observed_at IS NULL OR observed_at < p_stale);
  RETURN moved;
END $$;

CREATE FUNCTION fulfillment_get(p_tenant uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known fulfillments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO known FROM fulfillments WHERE tenant_id = p_tenant AND fulfillment_id = p_id;
  RETURN CASE WHEN FOUND THEN fulfillment_json(known) END;
END $$;

-- A page, newest first: ids are UUIDv7, so their order is the order of creation.
CREATE FUNCTION fulfillment_list(p_tenant uuid, p_order uuid, p_before uuid, p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  page jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT coalesce(jsonb_agg(fulfillment_json(r.f) ORDER BY (r.f).fulfillment_id DESC), '[]') INTO page
    FROM (SELECT f FROM fulfillments f
          WHERE f.tenant_id = p_tenant AND (p_order IS NULL OR f.order_id = p_order)
            AND (p_before IS NULL OR f.fulfillment_id < p_before)
          ORDER BY f.fulfillment_id DESC LIMIT p_limit) AS r;
  RETURN page;
END $$;

-- Open work of a tenant in id order, from behind p_after on.
CREATE FUNCTION fulfillment_open(p_tenant uuid, p_after uuid, p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  page jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT coalesce(jsonb_agg(fulfillment_json(r.f) ORDER BY (r.f).fulfillment_id), '[]') INTO page
    FROM (SELECT f FROM fulfillments f
          WHERE f.tenant_id = p_tenant AND f.state IN (2, 3) AND (p_after IS NULL OR f.fulfillment_id > p_after)
          ORDER BY f.fulfillment_id LIMIT p_limit) AS r;
  RETURN page;
END $$;

-- Marks the work of an order below a revision as taken back, unless any has begun; returns the fulfillments that count:
-- of the cancelled ones those of the last revision, as the others were replaced.
CREATE FUNCTION order_cancel(p_tenant uuid, p_order uuid, p_revision int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  work jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO orders (tenant_id, order_id) VALUES (p_tenant, p_order) ON CONFLICT DO NOTHING;
  PERFORM FROM orders WHERE tenant_id = p_tenant AND order_id = p_order FOR UPDATE;
  UPDATE orders SET revoked = greatest(revoked, p_revision) WHERE tenant_id = p_tenant AND order_id = p_order
    AND NOT EXISTS (SELECT FROM fulfillments f WHERE f.tenant_id = p_tenant AND f.order_id = p_order
                      AND f.revision < p_revision AND f.state IN (3, 4, 5));
  SELECT coalesce(jsonb_agg(fulfillment_json(f) ORDER BY f.fulfillment_id), '[]') INTO work
    FROM fulfillments f WHERE f.tenant_id = p_tenant AND f.order_id = p_order AND f.revision < p_revision
      AND (f.state <> 6 OR f.revision = (SELECT max(o.revision) FROM fulfillments o
                                         WHERE o.tenant_id = p_tenant AND o.order_id = p_order));
  RETURN work;
END $$;

-- Which of these fulfillments were taken back.
CREATE FUNCTION fulfillments_revoked(p_tenant uuid, p_ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN ARRAY(SELECT i.id FROM unnest(p_ids) AS i (id)
    CROSS JOIN LATERAL (SELECT order_id, revision FROM fulfillments
      WHERE tenant_id = p_tenant AND fulfillment_id = i.id LIMIT 1) f
    CROSS JOIN LATERAL (SELECT FROM orders
      WHERE tenant_id = p_tenant AND order_id = f.order_id AND revoked > f.revision LIMIT 1) o);
END $$;

-- Takes the mark back after the warehouse system has refused: what is not cancelled may be asked for again.
CREATE FUNCTION order_cancel_refused(p_tenant uuid, p_order uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE orders SET revoked = coalesce((SELECT max(f.revision) FROM fulfillments f
                                        WHERE f.tenant_id = p_tenant AND f.order_id = p_order AND f.state <> 6), 0)
    WHERE tenant_id = p_tenant AND order_id = p_order;
  RETURN FOUND;
END $$;

-- Takes the right to poll for a tenant, if nobody holds it and it is the tenant's turn.
CREATE FUNCTION wms_lease_take(p_tenant uuid, p_owner uuid, p_hold_ms int, p_early_ms int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE wms_leases SET owner = p_owner, held_until = clock_timestamp() + p_hold_ms * interval '1 ms'
    WHERE tenant_id = p_tenant AND held_until < clock_timestamp()
      AND next_at <= clock_timestamp() + p_early_ms * interval '1 ms';
  RETURN FOUND;
END $$;

-- Keeps it while there is more to ask; false when somebody else holds it by now.
CREATE FUNCTION wms_lease_keep(p_tenant uuid, p_owner uuid, p_hold_ms int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE wms_leases SET held_until = clock_timestamp() + p_hold_ms * interval '1 ms'
    WHERE tenant_id = p_tenant AND owner = p_owner AND held_until >= clock_timestamp();
  RETURN FOUND;
END $$;

-- Gives it back and says when it is the tenant's turn again: later and later while the warehouse system fails.
CREATE FUNCTION wms_lease_end(p_tenant uuid, p_owner uuid, p_pause_ms int, p_longest_ms int, p_failed boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE wms_leases SET owner = NULL, held_until = '-infinity',
      failures = CASE WHEN p_failed THEN least(failures + 1, 10) ELSE 0 END,
      next_at = clock_timestamp() + interval '1 ms'
        * CASE WHEN p_failed THEN least(p_pause_ms::bigint << least(failures + 1, 10), p_longest_ms) ELSE p_pause_ms END
    WHERE tenant_id = p_tenant AND owner = p_owner;
  RETURN FOUND;
END $$;

-- Tenants whose turn it is and who have open work; for the worker role.
CREATE FUNCTION wms_due(p_early_ms int, p_limit int) RETURNS uuid[] LANGUAGE sql AS $$
  SELECT coalesce(array_agg(d.tenant_id), '{}') FROM (
    SELECT l.tenant_id FROM wms_leases l
    WHERE l.held_until < clock_timestamp() AND l.next_at <= clock_timestamp() + p_early_ms * interval '1 ms'
      AND EXISTS (SELECT FROM fulfillments f WHERE f.tenant_id = l.tenant_id AND f.state IN (2, 3))
    ORDER BY l.next_at LIMIT p_limit) AS d;
$$;

-- Some values of a tenant that begin with less than this: an older key sealed them.
CREATE FUNCTION sealed_below(p_tenant uuid, p_below bytea, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('place', r.place, 'sealed', encode(r.sealed, 'hex'))), '[]') FROM (
    SELECT 'fulfillments.ship_to:' || f.fulfillment_id AS place, f.ship_to AS sealed FROM fulfillments f
      WHERE f.tenant_id = p_tenant AND substring(f.ship_to FROM 1 FOR 5) < p_below
    LIMIT p_most) r);
END $$;

-- Replaces a sealed value unless somebody did.
CREATE FUNCTION sealed_again(p_tenant uuid, p_place text, p_before bytea, p_after bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE fulfillments SET ship_to = p_after
    WHERE tenant_id = p_tenant AND fulfillment_id = split_part(p_place, ':', 2)::uuid AND ship_to = p_before;
  RETURN FOUND;
END $$;

SELECT om_grant();
