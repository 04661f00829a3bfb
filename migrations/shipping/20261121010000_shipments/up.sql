-- Parcels, their labels, and what carriers said about them.

CREATE TABLE shipments (
  tenant_id      uuid        NOT NULL,
  shipment_id    uuid        NOT NULL,
  order_id       uuid        NOT NULL,
  fulfillment_id uuid        NOT NULL,
  -- 1 created, 2 labeled, 3 shipped, 4 in transit, 5 out for delivery, 6 delivered
  state          smallint    NOT NULL CHECK (state BETWEEN 1 AND 6),
  version        int         NOT NULL CHECK (version > 0),
  body           jsonb       NOT NULL,
  -- Set before the carrier is asked for a label: a later try looks for one first, so that none is bought twice (SHP-01).
  label_asked    boolean     NOT NULL DEFAULT false,
  label          jsonb,
  -- What is printed, sealed with the tenant's key: it names people (PAY-12).
  printed        bytea,
  -- When the carrier is asked, unless it says something before (SHP-08).
  poll_at        timestamptz,
  created_at     timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, shipment_id),
  CONSTRAINT one_per_fulfillment UNIQUE (tenant_id, fulfillment_id),
  CONSTRAINT labeled_has_label CHECK (state < 2 OR (label IS NOT NULL AND printed IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX shipments_by_order ON shipments (tenant_id, order_id, shipment_id);
CREATE INDEX shipments_to_ask ON shipments (poll_at) WHERE state IN (3, 4, 5);
SELECT om_protect('shipments');
SELECT om_worker_reads('shipments', 'tenant_id, shipment_id, state, poll_at');

-- Which events of carriers have had their effect (rule I5).
CREATE TABLE carrier_events (
  tenant_id   uuid        NOT NULL,
  carrier     text        NOT NULL,
  event_id    text        NOT NULL,
  shipment_id uuid        NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, carrier, event_id)
);
SELECT om_protect('carrier_events', 'append');

CREATE TABLE scans (
  tenant_id   uuid        NOT NULL,
  shipment_id uuid        NOT NULL,
  code        text        NOT NULL,
  occurred_at timestamptz NOT NULL,
  -- Sealed with the tenant's key: the last one is where somebody lives (PAY-12).
  location    bytea       NOT NULL,
  PRIMARY KEY (tenant_id, shipment_id, code, occurred_at)
);
SELECT om_protect('scans', 'append');

-- What is printed stays out: it may be large and only one method wants it.
CREATE FUNCTION shipment_json(s shipments) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('id', s.shipment_id, 'order', s.order_id, 'fulfillment', s.fulfillment_id, 'state', s.state,
    'version', s.version, 'body', s.body, 'label', s.label, 'created_at', s.created_at,
    'scans', (SELECT coalesce(jsonb_agg(jsonb_build_object('code', c.code, 'at', c.occurred_at, 'location', encode(c.location, 'hex'))
                ORDER BY c.occurred_at), '[]')
              FROM scans c WHERE c.tenant_id = s.tenant_id AND c.shipment_id = s.shipment_id));
$$;

-- Inside the transaction of the event that asks for it; false when the fulfillment has its shipment.
CREATE FUNCTION shipment_create(p_tenant uuid, p_id uuid, p_order uuid, p_fulfillment uuid, p_body jsonb, p_at timestamptz)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO shipments (tenant_id, shipment_id, order_id, fulfillment_id, state, version, body, created_at)
    VALUES (p_tenant, p_id, p_order, p_fulfillment, 1, 1, p_body, p_at) ON CONFLICT ON CONSTRAINT one_per_fulfillment DO NOTHING;
  RETURN FOUND;
END $$;

-- New pictures of shipments, in the commit that appends their events; those that were at the version expected of them.
CREATE FUNCTION project(p_tenant uuid, p_pictures picture[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  moved uuid[];
BEGIN
  WITH done AS (
    UPDATE shipments s SET version = p.version,
        state = greatest(s.state, coalesce((p.doc ->> 'state')::smallint, s.state)),
        label = coalesce(nullif(p.doc -> 'label', 'null'), s.label),
        printed = coalesce(decode(p.doc ->> 'printed', 'hex'), s.printed),
        poll_at = coalesce((p.doc ->> 'poll_at')::timestamptz, s.poll_at)
      FROM (SELECT * FROM unnest(p_pictures) LIMIT cardinality(p_pictures)) AS p
      WHERE s.tenant_id = p_tenant AND s.shipment_id = p.stream AND s.version = p.expected RETURNING s.shipment_id
  ) SELECT coalesce(array_agg(shipment_id), '{}') INTO moved FROM done;
  RETURN moved;
END $$;

CREATE FUNCTION shipment_get(p_tenant uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known shipments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO known FROM shipments WHERE tenant_id = p_tenant AND shipment_id = p_id;
  RETURN CASE WHEN FOUND THEN shipment_json(known) END;
END $$;

-- NULL: no such shipment; {"label": null}: not bought yet.
CREATE FUNCTION shipment_label(p_tenant uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known shipments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO known FROM shipments WHERE tenant_id = p_tenant AND shipment_id = p_id;
  RETURN CASE WHEN FOUND THEN jsonb_build_object('label', known.label, 'printed', encode(known.printed, 'hex')) END;
END $$;

-- A page, newest first: ids are UUIDv7, so their order is the order of creation.
CREATE FUNCTION shipment_list(p_tenant uuid, p_order uuid, p_before uuid, p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  page jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT coalesce(jsonb_agg(shipment_json(r.s) ORDER BY (r.s).shipment_id DESC), '[]') INTO page
    FROM (SELECT s FROM shipments s
          WHERE s.tenant_id = p_tenant AND (p_order IS NULL OR s.order_id = p_order)
            AND (p_before IS NULL OR s.shipment_id < p_before)
          ORDER BY s.shipment_id DESC LIMIT p_limit) AS r;
  RETURN page;
END $$;

-- Remembers that the carrier is about to be asked for a label: {"asked": it was before, "shipment": …}.
CREATE FUNCTION label_intend(p_tenant uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known shipments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO known FROM shipments WHERE tenant_id = p_tenant AND shipment_id = p_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF NOT known.label_asked THEN
    UPDATE shipments SET label_asked = true WHERE tenant_id = p_tenant AND shipment_id = p_id;
  END IF;
  RETURN jsonb_build_object('asked', known.label_asked, 'shipment', shipment_json(known));
END $$;

-- Stores scans and locks the shipment until the transaction ends. NULL: no such shipment, or the event was seen before.
-- p_event is NULL when the carrier was asked instead of telling.
CREATE FUNCTION scans_take(p_tenant uuid, p_id uuid, p_carrier text, p_event text, p_scans jsonb, p_poll_at timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known shipments%ROWTYPE;
BEGIN
  IF p_event IS NOT NULL THEN
    INSERT INTO carrier_events (tenant_id, carrier, event_id, shipment_id) VALUES (p_tenant, p_carrier, p_event, p_id)
      ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  SELECT * INTO known FROM shipments WHERE tenant_id = p_tenant AND shipment_id = p_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO scans (tenant_id, shipment_id, code, occurred_at, location)
    SELECT p_tenant, p_id, e ->> 'code', (e ->> 'at')::timestamptz, decode(e ->> 'location', 'hex') FROM jsonb_array_elements(p_scans) AS e
    ON CONFLICT DO NOTHING;
  IF FOUND THEN
    UPDATE shipments SET poll_at = p_poll_at WHERE tenant_id = p_tenant AND shipment_id = p_id AND poll_at IS NOT NULL;
  END IF;
  RETURN shipment_json(known);
END $$;

-- The state that scans moved a locked shipment to; never back.
CREATE FUNCTION shipment_move(p_tenant uuid, p_id uuid, p_state smallint, p_version int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE shipments SET state = p_state, version = p_version
    WHERE tenant_id = p_tenant AND shipment_id = p_id AND state < p_state AND version <= p_version;
  RETURN FOUND;
END $$;

-- Shipments on their way of which nothing was heard for long; for the worker role.
CREATE FUNCTION silent_shipments(p_limit int) RETURNS TABLE (tenant uuid, shipment uuid) LANGUAGE sql AS $$
  SELECT tenant_id, shipment_id FROM shipments WHERE state IN (3, 4, 5) AND poll_at <= now() ORDER BY poll_at LIMIT p_limit;
$$;

-- Takes the turn to ask about one of them: its tracking number, or NULL when somebody else was faster.
CREATE FUNCTION poll_take(p_tenant uuid, p_id uuid, p_poll_at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  tracking text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE shipments SET poll_at = p_poll_at
    WHERE tenant_id = p_tenant AND shipment_id = p_id AND state IN (3, 4, 5) AND poll_at <= now()
    RETURNING label ->> 'tracking_number' INTO tracking;
  RETURN tracking;
END $$;

-- Some values of a tenant that begin with less than this: an older key sealed them. Scans are only appended; they stay
-- as they were sealed.
CREATE FUNCTION sealed_below(p_tenant uuid, p_below bytea, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('place', r.place, 'sealed', encode(r.sealed, 'hex'))), '[]') FROM (
    SELECT 'shipments.printed:' || s.shipment_id AS place, s.printed AS sealed FROM shipments s
      WHERE s.tenant_id = p_tenant AND substring(s.printed FROM 1 FOR 5) < p_below
    LIMIT p_most) r);
END $$;

-- Replaces a sealed value unless somebody did.
CREATE FUNCTION sealed_again(p_tenant uuid, p_place text, p_before bytea, p_after bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE shipments SET printed = p_after
    WHERE tenant_id = p_tenant AND shipment_id = split_part(p_place, ':', 2)::uuid AND printed = p_before;
  RETURN FOUND;
END $$;

SELECT om_grant();
