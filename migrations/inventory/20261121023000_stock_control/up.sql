-- Safety stock, transfers, reports of issues, counts of warehouses, slots of resources.
--
-- Order of locks as before: what asks (an issue), reservations, then stock by (sku, warehouse).

CREATE TABLE stock_issues (
  tenant_id     uuid        NOT NULL,
  issue_id      uuid        NOT NULL,
  sku           text        COLLATE "C" NOT NULL,
  warehouse     text        COLLATE "C" NOT NULL,
  kind          smallint    NOT NULL CHECK (kind BETWEEN 1 AND 3),
  quantity      int         NOT NULL CHECK (quantity > 0),
  picked_sku    text        COLLATE "C" NOT NULL,
  note          text        NOT NULL,
  state         smallint    NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3), -- pending, approved, rejected
  reported_by   text        NOT NULL,
  decided_by    text        NOT NULL DEFAULT '',
  decision_note text        NOT NULL DEFAULT '',
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, issue_id)
);
SELECT om_protect('stock_issues');

CREATE TABLE wms_snapshots (
  tenant_id   uuid        NOT NULL,
  snapshot_id text        COLLATE "C" NOT NULL,
  warehouse   text        COLLATE "C" NOT NULL,
  taken_at    timestamptz NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, snapshot_id)
);
CREATE INDEX wms_snapshots_newest ON wms_snapshots (tenant_id, warehouse, taken_at DESC);
SELECT om_protect('wms_snapshots', 'append');

CREATE TABLE observations (
  tenant_id   uuid NOT NULL,
  snapshot_id text COLLATE "C" NOT NULL,
  sku         text COLLATE "C" NOT NULL,
  on_hand     int  NOT NULL CHECK (on_hand >= 0),
  PRIMARY KEY (tenant_id, snapshot_id, sku)
);
SELECT om_protect('observations', 'append');

CREATE TABLE slots (
  tenant_id uuid        NOT NULL,
  sku       text        COLLATE "C" NOT NULL,
  slot_id   text        COLLATE "C" NOT NULL,
  warehouse text        COLLATE "C" NOT NULL,
  starts_at timestamptz NOT NULL,
  ends_at   timestamptz NOT NULL CHECK (ends_at > starts_at),
  PRIMARY KEY (tenant_id, sku, slot_id)
);
CREATE INDEX slots_by_start ON slots (tenant_id, sku, starts_at, slot_id);
SELECT om_protect('slots');

-- A level as every command answers it.
CREATE FUNCTION level_json(p_tenant uuid, p_sku text, p_warehouse text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('warehouse', s.warehouse, 'on_hand', s.on_hand, 'reserved', s.reserved, 'safety', s.safety)
  FROM stock s WHERE s.tenant_id = p_tenant AND s.sku = p_sku AND s.warehouse = p_warehouse
$$;

-- Keeps units back from sale; a line of the ledger without figures says when.
CREATE FUNCTION set_safety(p_tenant uuid, p_sku text, p_warehouse text, p_safety int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  refusal jsonb := stock_place(p_tenant, p_sku, p_warehouse);
BEGIN
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  UPDATE stock SET safety = p_safety
    WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_warehouse AND safety <> p_safety;
  IF FOUND THEN
    INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
      VALUES (p_tenant, p_sku, p_warehouse, 0, 0, 'SAFETY', 'safety ' || p_safety);
  END IF;
  RETURN level_json(p_tenant, p_sku, p_warehouse);
END $$;

-- Moves units between two warehouses of the same product.
CREATE FUNCTION transfer_stock(p_tenant uuid, p_sku text, p_from text, p_to text, p_quantity int, p_reference text)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  refusal jsonb := coalesce(stock_place(p_tenant, p_sku, p_from), stock_place(p_tenant, p_sku, p_to));
  source stock%ROWTYPE;
  target stock%ROWTYPE;
BEGIN
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  PERFORM FROM stock WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse IN (p_from, p_to) ORDER BY warehouse
    FOR NO KEY UPDATE;
  SELECT * INTO source FROM stock WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_from;
  SELECT * INTO target FROM stock WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_to;
  IF source.on_hand - p_quantity < source.reserved THEN
    RETURN jsonb_build_object('refused', 'STOCK_BELOW_RESERVED', 'on_hand', source.on_hand, 'reserved', source.reserved);
  ELSIF target.on_hand + p_quantity > 1000000000 THEN
    RETURN jsonb_build_object('refused', 'STOCK_TOO_LARGE', 'on_hand', target.on_hand, 'reserved', target.reserved);
  END IF;
  UPDATE stock SET on_hand = on_hand + CASE WHEN warehouse = p_to THEN p_quantity ELSE -p_quantity END
    WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse IN (p_from, p_to);
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    VALUES (p_tenant, p_sku, p_from, -p_quantity, 0, 'TRANSFER', p_reference),
           (p_tenant, p_sku, p_to, p_quantity, 0, 'TRANSFER', p_reference);
  RETURN jsonb_build_object('levels', jsonb_build_array(level_json(p_tenant, p_sku, p_from),
                                                        level_json(p_tenant, p_sku, p_to)));
END $$;

-- Several corrections of one warehouse or none; each [sku, delta].
CREATE FUNCTION correct_stock(p_tenant uuid, p_warehouse text, p_skus text[], p_deltas int[], p_reason text,
                              p_reference text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  one record;
  answer jsonb;
BEGIN
  FOR one IN SELECT * FROM unnest(p_skus, p_deltas) AS c (sku, delta) ORDER BY c.sku LOOP
    answer := adjust_stock(p_tenant, one.sku, p_warehouse, one.delta, p_reason, p_reference);
    -- What was done before goes with the transaction, which the caller ends.
    IF answer ? 'refused' THEN
      RETURN answer || jsonb_build_object('sku', one.sku);
    END IF;
  END LOOP;
  RETURN '{}';
END $$;

-- Leaves a line for units that came and are not sold.
CREATE FUNCTION write_off(p_tenant uuid, p_sku text, p_warehouse text, p_reference text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  refusal jsonb := stock_place(p_tenant, p_sku, p_warehouse);
BEGIN
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    VALUES (p_tenant, p_sku, p_warehouse, 0, 0, 'WRITE_OFF', p_reference);
  RETURN level_json(p_tenant, p_sku, p_warehouse);
END $$;

-- Sets the figures of a product to the sums of its ledger, under the locks of its rows; how many were wrong. A line without
-- figures says of each that it was, so that who follows the ledger tells of it.
CREATE FUNCTION rebuild_stock(p_tenant uuid, p_sku text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  corrected int;
BEGIN
  IF NOT EXISTS (SELECT FROM products WHERE tenant_id = p_tenant AND sku = p_sku) THEN
    RETURN jsonb_build_object('refused', 'PRODUCT_NOT_FOUND', 'sku', p_sku);
  END IF;
  PERFORM FROM stock WHERE tenant_id = p_tenant AND sku = p_sku ORDER BY warehouse FOR NO KEY UPDATE;
  WITH rebuilt AS (
    INSERT INTO stock AS s (tenant_id, sku, warehouse, on_hand, reserved)
      SELECT p_tenant, p_sku, w.warehouse, coalesce(sum(l.d_on_hand), 0), coalesce(sum(l.d_reserved), 0)
      FROM (SELECT warehouse FROM stock WHERE tenant_id = p_tenant AND sku = p_sku
            UNION SELECT warehouse FROM stock_ledger WHERE tenant_id = p_tenant AND sku = p_sku) w
      LEFT JOIN stock_ledger l ON l.tenant_id = p_tenant AND l.sku = p_sku AND l.warehouse = w.warehouse
      GROUP BY w.warehouse ORDER BY w.warehouse
      ON CONFLICT (tenant_id, sku, warehouse) DO UPDATE SET on_hand = excluded.on_hand, reserved = excluded.reserved
      WHERE (s.on_hand, s.reserved) <> (excluded.on_hand, excluded.reserved)
      RETURNING warehouse)
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    SELECT p_tenant, p_sku, r.warehouse, 0, 0, 'RECONCILE', 'rebuilt' FROM rebuilt r ORDER BY r.warehouse;
  GET DIAGNOSTICS corrected = ROW_COUNT;
  RETURN jsonb_build_object('corrected', corrected);
END $$;

-- What became of a product in a warehouse since it was counted, and whether units of it were taken out shortly before. The
-- newest lines come first, by the key: a ledger of any length costs what happened since.
CREATE FUNCTION since_count(p_tenant uuid, p_sku text, p_warehouse text, p_taken_at timestamptz,
                            OUT moved bigint, OUT leaving boolean) LANGUAGE plpgsql STABLE AS $$
DECLARE
  line record;
BEGIN
  moved := 0;
  leaving := false;
  FOR line IN SELECT l.warehouse, l.d_on_hand, l.reason, l.reference, l.occurred_at FROM stock_ledger l
      WHERE l.tenant_id = p_tenant AND l.sku = p_sku ORDER BY l.seq DESC LOOP
    -- What we took out within the hour may have stood there still, and no line waits an hour for its commit.
    EXIT WHEN line.occurred_at < p_taken_at - interval '1 hour';
    CONTINUE WHEN line.warehouse <> p_warehouse;
    IF line.occurred_at <= p_taken_at THEN
      leaving := leaving OR line.reason = 'CONSUME';
    -- What this count or an earlier one corrected counts as if it had been so at the count.
    ELSIF line.reason <> 'RECONCILE' OR NOT EXISTS (
        SELECT FROM wms_snapshots w WHERE w.tenant_id = p_tenant AND w.snapshot_id = line.reference
          AND w.warehouse = p_warehouse AND w.taken_at <= p_taken_at) THEN
      moved := moved + line.d_on_hand;
    END IF;
  END LOOP;
END $$;

-- What a snapshot counted of some products, and what our books said then: the stock of now less what happened since. One
-- statement, so that stock and lines are of one moment; never a sort, which would read all lines of a product.
CREATE FUNCTION compare_snapshot(p_tenant uuid, p_snapshot text, p_skus text[]) RETURNS jsonb LANGUAGE plpgsql
SET enable_sort = off AS $$
BEGIN
  RETURN (SELECT jsonb_build_object('warehouse', s.warehouse, 'snapshot', s.snapshot_id, 'taken_at', s.taken_at, 'counts', (
      SELECT coalesce(jsonb_agg(jsonb_build_object('sku', o.sku, 'observed', o.on_hand, 'leaving', c.leaving,
                                                   'expected', coalesce(k.on_hand, 0) - c.moved) ORDER BY o.sku), '[]')
      FROM observations o
      LEFT JOIN stock k ON k.tenant_id = p_tenant AND k.sku = o.sku AND k.warehouse = s.warehouse
      CROSS JOIN LATERAL since_count(p_tenant, o.sku, s.warehouse, s.taken_at) c
      WHERE o.tenant_id = p_tenant AND o.snapshot_id = p_snapshot AND o.sku = ANY (p_skus)))
    FROM wms_snapshots s WHERE s.tenant_id = p_tenant AND s.snapshot_id = p_snapshot);
END $$;

-- Of some goods that a count of a whole warehouse left out, none was there: an observation as any other. Said only of what
-- our books had at its moment, whether it is there still or not. One statement and never a sort, as above.
CREATE FUNCTION observe_absent(p_tenant uuid, p_snapshot text, p_skus text[]) RETURNS void LANGUAGE plpgsql
SET enable_sort = off AS $$
BEGIN
  INSERT INTO observations (tenant_id, snapshot_id, sku, on_hand)
    SELECT p_tenant, p_snapshot, k.sku, 0 FROM wms_snapshots s
    JOIN stock k ON k.tenant_id = p_tenant AND k.sku = ANY (p_skus) AND k.warehouse = s.warehouse
    CROSS JOIN LATERAL since_count(p_tenant, k.sku, s.warehouse, s.taken_at) c
    WHERE s.tenant_id = p_tenant AND s.snapshot_id = p_snapshot AND k.on_hand > c.moved;
END $$;

-- Opens a slot: its row, and its capacity as stock of the SKU "sku@slot".
CREATE FUNCTION open_slot(p_tenant uuid, p_sku text, p_slot text, p_warehouse text, p_start timestamptz, p_end timestamptz,
                          p_capacity int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  product_kind smallint;
BEGIN
  -- The lock makes two slots of a product come one after the other.
  SELECT kind INTO product_kind FROM products WHERE tenant_id = p_tenant AND sku = p_sku AND active FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('refused', 'PRODUCT_NOT_FOUND', 'sku', p_sku);
  ELSIF product_kind <> 2 THEN
    RETURN jsonb_build_object('refused', 'PRODUCT_IS_GOODS', 'sku', p_sku);
  ELSIF NOT EXISTS (SELECT FROM warehouses WHERE tenant_id = p_tenant AND code = p_warehouse) THEN
    RETURN jsonb_build_object('refused', 'WAREHOUSE_NOT_FOUND', 'warehouse', p_warehouse);
  ELSIF p_start <= now() THEN
    RETURN '{"refused": "SLOT_IN_THE_PAST"}';
  ELSIF EXISTS (SELECT FROM slots WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_warehouse
                AND starts_at < p_end AND ends_at > p_start) THEN
    RETURN '{"refused": "SLOT_OVERLAPS"}';
  END IF;
  INSERT INTO slots (tenant_id, sku, slot_id, warehouse, starts_at, ends_at)
    VALUES (p_tenant, p_sku, p_slot, p_warehouse, p_start, p_end);
  INSERT INTO stock (tenant_id, sku, warehouse, on_hand)
    VALUES (p_tenant, p_sku || '@' || p_slot, p_warehouse, p_capacity);
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    VALUES (p_tenant, p_sku || '@' || p_slot, p_warehouse, p_capacity, 0, 'SLOT', p_slot);
  RETURN '{}';
END $$;

-- Units that may be sold of a product: of goods in all warehouses, of a resource in slots to come.
CREATE FUNCTION sellable(p_tenant uuid, p_sku text, p_kind smallint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF p_kind = 1 THEN
    RETURN (SELECT coalesce(sum(greatest(s.on_hand - s.reserved - s.safety, 0)), 0) FROM stock s
            WHERE s.tenant_id = p_tenant AND s.sku = p_sku);
  END IF;
  RETURN (SELECT coalesce(sum(s.on_hand - s.reserved), 0) FROM slots l
          JOIN stock s ON s.tenant_id = l.tenant_id AND s.sku = l.sku || '@' || l.slot_id AND s.warehouse = l.warehouse
          WHERE l.tenant_id = p_tenant AND l.sku = p_sku AND l.starts_at > now());
END $$;

-- A product as a shopper sees it, with what may be sold of it; NULL: none that is for sale.
CREATE FUNCTION get_product(p_tenant uuid, p_sku text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT to_jsonb(p) - 'tenant_id' || jsonb_build_object('available', sellable(p_tenant, p.sku, p.kind),
                                                                 'threshold', low_threshold(p_tenant))
          FROM products p WHERE p.tenant_id = p_tenant AND p.sku = p_sku AND p.active);
END $$;

-- Units of a warehouse that a fulfillment works on, and what their locked reservation becomes.
CREATE TYPE bound AS (
  order_id uuid, reservation uuid, version int, state smallint, warehouse text, fulfillment uuid, payload text, meta jsonb
);

-- Binds units to fulfillments, in order.
CREATE FUNCTION reservations_allocate(p_tenant uuid, p_items jsonb, p_type text, p_topic text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  items bound[] := ARRAY(SELECT i FROM jsonb_populate_recordset(NULL::bound, p_items) AS i);
BEGIN
  UPDATE allocations a SET fulfillment_id = f.fulfillment
    FROM (SELECT o.at, i.fulfillment FROM unnest(items) AS i CROSS JOIN LATERAL (
      SELECT ctid AS at FROM allocations WHERE tenant_id = p_tenant AND order_id = i.order_id AND warehouse = i.warehouse OFFSET 0) o) f
    WHERE a.ctid = f.at;
  UPDATE reservations r SET state = l.state, version = l.version, updated_at = now()
    FROM (SELECT o.at, i.state, i.version FROM (SELECT DISTINCT ON (order_id) * FROM unnest(items) ORDER BY order_id, version DESC) i
      CROSS JOIN LATERAL (SELECT ctid AS at FROM reservations WHERE tenant_id = p_tenant AND order_id = i.order_id LIMIT 1) o) l
    WHERE r.ctid = l.at;
  PERFORM append_each(p_tenant, array_agg(i.reservation ORDER BY i.n), array_agg(i.version - 1 ORDER BY i.n), p_type, p_topic,
      array_agg(decode(i.payload, 'base64') ORDER BY i.n), array_agg(i.meta ORDER BY i.n))
    FROM unnest(items) WITH ORDINALITY AS i (order_id, reservation, version, state, warehouse, fulfillment, payload, meta, n);
END $$;

-- What a fulfillment worked on that was called off waits for another one; the reservation is locked and becomes p_state.
CREATE FUNCTION reservation_call_off(p_tenant uuid, p_order uuid, p_fulfillment uuid, p_state smallint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE allocations SET fulfillment_id = NULL
    WHERE tenant_id = p_tenant AND order_id = p_order AND fulfillment_id = p_fulfillment;
  UPDATE reservations SET state = p_state, called_off = array_append(called_off, p_fulfillment), updated_at = now()
    WHERE tenant_id = p_tenant AND order_id = p_order;
END $$;

-- Lets a hold end later.
CREATE FUNCTION reservation_extend(p_tenant uuid, p_order uuid, p_until timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE reservations SET expires_at = p_until, version = version + 1, updated_at = now()
    WHERE tenant_id = p_tenant AND order_id = p_order AND state = 1;
END $$;

SELECT om_grant();
