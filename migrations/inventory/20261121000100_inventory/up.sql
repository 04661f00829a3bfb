-- Products, warehouses, stock with its ledger, and reservations.
--
-- Order of locks, the same in every function: reservations by order_id, then stock by (sku, warehouse) (data.md H9).

CREATE TABLE products (
  tenant_id    uuid        NOT NULL,
  sku          text        COLLATE "C" NOT NULL,
  display_name text        NOT NULL,
  prices       jsonb       NOT NULL, -- {"USD": 1999}: minor units by currency
  tax_class    text        NOT NULL,
  weight_grams int         NOT NULL CHECK (weight_grams >= 0),
  kind         smallint    NOT NULL DEFAULT 1 CHECK (kind IN (1, 2)), -- 1 goods, 2 resource, as in the contract
  active       boolean     NOT NULL DEFAULT true,
  restrictions jsonb       NOT NULL DEFAULT '{}', -- who may buy it and where
  version      int         NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, sku)
);
SELECT om_protect('products');

-- The slot bounds the number of warehouses without a lock: two that race for one slot meet in the index.
CREATE TABLE warehouses (
  tenant_id    uuid        NOT NULL,
  code         text        COLLATE "C" NOT NULL,
  display_name text        NOT NULL,
  address      jsonb       NOT NULL,
  priority     int         NOT NULL CHECK (priority BETWEEN 0 AND 1000),
  slot         smallint    NOT NULL CONSTRAINT warehouses_at_most_100 CHECK (slot BETWEEN 1 AND 100),
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, code),
  CONSTRAINT warehouses_slot UNIQUE (tenant_id, slot)
);
SELECT om_protect('warehouses');

-- No foreign keys to products and warehouses: rows of those are read by everybody and never deleted (data.md H24). The
-- stock of a resource's slot is that of the SKU "sku@slot".
CREATE TABLE stock (
  tenant_id uuid NOT NULL,
  sku       text COLLATE "C" NOT NULL,
  warehouse text COLLATE "C" NOT NULL,
  on_hand   int  NOT NULL CHECK (on_hand BETWEEN 0 AND 1000000000),
  reserved  int  NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  safety    int  NOT NULL DEFAULT 0 CHECK (safety BETWEEN 0 AND 1000000), -- kept back from sale
  PRIMARY KEY (tenant_id, sku, warehouse),
  CONSTRAINT stock_never_oversold CHECK (reserved <= on_hand)
) WITH (fillfactor = 60);
SELECT om_protect('stock');

-- Per sku and warehouse the sums of the lines are the stock; a line is written under the lock of its stock row, so seq
-- follows the order of commits there.
CREATE TABLE stock_ledger (
  tenant_id   uuid        NOT NULL,
  sku         text        COLLATE "C" NOT NULL,
  seq         bigint      GENERATED ALWAYS AS IDENTITY,
  movement_id uuid        NOT NULL DEFAULT gen_random_uuid(),
  warehouse   text        COLLATE "C" NOT NULL,
  d_on_hand   int         NOT NULL,
  d_reserved  int         NOT NULL,
  reason      text        NOT NULL CHECK (reason IN (
    'RECEIVE', 'ADJUST', 'RESERVE', 'RELEASE', 'EXPIRE', 'CONSUME', 'TRANSFER', 'SAFETY', 'RESTOCK', 'WRITE_OFF', 'ISSUE',
    'RECONCILE', 'SLOT')),
  reference   text        NOT NULL,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (tenant_id, sku, seq)
);
-- What changed since somebody looked, over all tenants.
CREATE INDEX stock_ledger_log ON stock_ledger (xid, seq);
SELECT om_protect('stock_ledger', 'append');
SELECT om_worker_reads('stock_ledger', 'tenant_id, sku, seq, xid');

-- state: 1 HELD, 2 CONFIRMED, 3 CONSUMED, 4 RELEASED, 5 EXPIRED, 6 ALLOCATED, as in the contract. A RELEASED row without allocations
-- is the mark that an order's undo came before its do. version counts the events of the stream reservation_id.
CREATE TABLE reservations (
  tenant_id      uuid        NOT NULL,
  order_id       uuid        NOT NULL,
  reservation_id uuid        NOT NULL,
  state          smallint    NOT NULL CHECK (state BETWEEN 1 AND 6),
  version        int         NOT NULL CHECK (version >= 0),
  expires_at     timestamptz NOT NULL,
  -- Which round of paying the order it belongs to: what an earlier round still asks for changes nothing (PAY-18).
  round          int         NOT NULL DEFAULT 1 CHECK (round >= 1),
  -- Fulfillments that were called off: a wish of theirs that comes late binds nothing. NULL for nearly all.
  called_off     uuid[],
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, order_id)
) WITH (fillfactor = 70);
-- The sweep looks over all tenants for what is due, so time comes first.
CREATE INDEX reservations_due ON reservations (expires_at) WHERE state = 1;
SELECT om_protect('reservations');
SELECT om_worker_reads('reservations', 'tenant_id, order_id, state, expires_at');

CREATE TABLE allocations (
  tenant_id uuid NOT NULL,
  order_id  uuid NOT NULL,
  sku       text COLLATE "C" NOT NULL,
  warehouse text COLLATE "C" NOT NULL,
  quantity  int  NOT NULL CHECK (quantity > 0),
  consumed  int  NOT NULL DEFAULT 0 CHECK (consumed >= 0),
  fulfillment_id uuid,
  PRIMARY KEY (tenant_id, order_id, sku, warehouse),
  CONSTRAINT allocations_not_overdrawn CHECK (consumed <= quantity)
) WITH (fillfactor = 80);
SELECT om_protect('allocations');

CREATE TABLE consumptions (
  tenant_id   uuid        NOT NULL,
  shipment_id uuid        NOT NULL,
  order_id    uuid        NOT NULL,
  warehouse   text        COLLATE "C" NOT NULL,
  consumed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, shipment_id)
);
SELECT om_protect('consumptions', 'append');

-- Products among some SKUs, for the pricing of an order.
CREATE FUNCTION get_products(p_tenant uuid, p_skus text[]) RETURNS jsonb LANGUAGE plpgsql SET plan_cache_mode = auto AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(p) - 'tenant_id' ORDER BY p.sku), '[]')
          FROM products p WHERE p.tenant_id = p_tenant AND p.sku = ANY (p_skus) AND p.active);
END $$;

-- Stock of a product by warehouse, the first to be used first; of a resource what is free in slots to come.
CREATE FUNCTION stock_json(p_tenant uuid, p_sku text, p_kind smallint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN jsonb_build_object('sku', p_sku, 'threshold', low_threshold(p_tenant),
    'slots', CASE WHEN p_kind = 2 THEN sellable(p_tenant, p_sku, p_kind) END,
    'levels', (SELECT coalesce(jsonb_agg(jsonb_build_object('warehouse', s.warehouse, 'on_hand', s.on_hand,
                                 'reserved', s.reserved, 'safety', s.safety) ORDER BY w.priority, w.code), '[]')
               FROM stock s JOIN warehouses w ON w.tenant_id = s.tenant_id AND w.code = s.warehouse
               WHERE s.tenant_id = p_tenant AND s.sku = p_sku));
END $$;

-- Stock of those products that exist among some SKUs, by SKU.
CREATE FUNCTION get_stock(p_tenant uuid, p_skus text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(stock_json(p_tenant, p.sku, p.kind) ORDER BY p.sku), '[]')
          FROM products p WHERE p.tenant_id = p_tenant AND p.sku = ANY (p_skus));
END $$;

-- Makes sure that goods have a row of stock at a place; NULL when they have.
CREATE FUNCTION stock_place(p_tenant uuid, p_sku text, p_warehouse text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  product_kind smallint;
BEGIN
  SELECT kind INTO product_kind FROM products WHERE tenant_id = p_tenant AND sku = p_sku;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('refused', 'PRODUCT_NOT_FOUND', 'sku', p_sku);
  ELSIF product_kind <> 1 THEN
    RETURN jsonb_build_object('refused', 'PRODUCT_IS_RESOURCE', 'sku', p_sku);
  ELSIF NOT EXISTS (SELECT FROM warehouses WHERE tenant_id = p_tenant AND code = p_warehouse) THEN
    RETURN jsonb_build_object('refused', 'WAREHOUSE_NOT_FOUND', 'warehouse', p_warehouse);
  END IF;
  INSERT INTO stock (tenant_id, sku, warehouse, on_hand) VALUES (p_tenant, p_sku, p_warehouse, 0) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;

-- Changes what is on hand. What is refused changes nothing: {"refused": REASON, …}.
CREATE FUNCTION adjust_stock(p_tenant uuid, p_sku text, p_warehouse text, p_delta int, p_reason text, p_note text)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
  level stock%ROWTYPE;
  refusal jsonb;
  after bigint;
  movement uuid;
BEGIN
  refusal := stock_place(p_tenant, p_sku, p_warehouse);
  IF refusal IS NOT NULL THEN
    RETURN refusal;
  END IF;
  SELECT * INTO level FROM stock WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_warehouse
    FOR NO KEY UPDATE;
  after := level.on_hand::bigint + p_delta;
  IF after < level.reserved THEN
    RETURN jsonb_build_object('refused', 'STOCK_BELOW_RESERVED', 'on_hand', level.on_hand, 'reserved', level.reserved);
  ELSIF after > 1000000000 THEN
    RETURN jsonb_build_object('refused', 'STOCK_TOO_LARGE', 'on_hand', level.on_hand, 'reserved', level.reserved);
  END IF;
  UPDATE stock SET on_hand = after WHERE tenant_id = p_tenant AND sku = p_sku AND warehouse = p_warehouse;
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    VALUES (p_tenant, p_sku, p_warehouse, p_delta, 0, p_reason, p_note)
    RETURNING movement_id INTO movement;
  RETURN jsonb_build_object('movement_id', movement, 'warehouse', p_warehouse, 'on_hand', after,
                            'reserved', level.reserved, 'safety', level.safety);
END $$;

-- Reservations of some orders as the service reads them: in one question, for one each would cost more than what it finds.
CREATE FUNCTION reservations_json(p_tenant uuid, p_orders uuid[]) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object(
    'id', r.reservation_id, 'order_id', r.order_id, 'state', r.state, 'version', r.version, 'expires_at', r.expires_at,
    -- In the order of the key: an aggregate with an order would sort once more.
    'round', r.round, 'called_off', r.called_off, 'allocations', (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', a.sku, 'warehouse', a.warehouse,
                            'quantity', a.quantity, 'consumed', a.consumed, 'fulfillment', a.fulfillment_id)), '[]')
                    FROM (SELECT * FROM allocations WHERE tenant_id = p_tenant AND order_id = r.order_id ORDER BY sku, warehouse) a))), '[]')
  FROM reservations r WHERE r.tenant_id = p_tenant AND r.order_id = ANY (p_orders));
END $$;

CREATE FUNCTION reservation_lookup(p_tenant uuid, p_order uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN reservations_json(p_tenant, ARRAY[p_order])->0;
END $$;

-- Locks the reservations of some orders and the stock of some SKUs, and tells what they are: first half of every
-- command on reservations. The service decides, the second half writes; nobody comes between.
CREATE FUNCTION reserve_lock(p_tenant uuid, p_orders uuid[], p_skus text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known jsonb;
  levels jsonb := '[]';
BEGIN
  PERFORM FROM reservations WHERE tenant_id = p_tenant AND order_id = ANY (p_orders) ORDER BY order_id FOR NO KEY UPDATE;
  -- A new statement sees what the locks waited for.
  known := reservations_json(p_tenant, p_orders);
  IF cardinality(p_skus) > 0 THEN
    PERFORM FROM stock WHERE tenant_id = p_tenant AND sku = ANY (p_skus) ORDER BY sku, warehouse FOR NO KEY UPDATE;
    SELECT coalesce(jsonb_agg(jsonb_build_object('sku', s.sku, 'warehouse', s.warehouse,
                                                 'free', s.on_hand - s.reserved - s.safety)
                              ORDER BY w.priority, w.code), '[]') INTO levels
      FROM stock s JOIN warehouses w ON w.tenant_id = s.tenant_id AND w.code = s.warehouse
      WHERE s.tenant_id = p_tenant AND s.sku = ANY (p_skus)
        -- A slot that has begun cannot be booked any more.
        AND (strpos(s.sku, '@') = 0 OR EXISTS (
          SELECT FROM slots l WHERE l.tenant_id = p_tenant AND l.sku = split_part(s.sku, '@', 1)
            AND l.slot_id = split_part(s.sku, '@', 2) AND l.starts_at > now()));
  END IF;
  RETURN jsonb_build_object('reservations', known, 'levels', levels);
END $$;

-- Writes the events of many streams, one each; a stream that moved meanwhile makes the whole transaction run again.
CREATE FUNCTION append_each(p_tenant uuid, p_streams uuid[], p_expected int[], p_type text, p_topic text,
                            p_payloads bytea[], p_metas jsonb[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT events_append(p_tenant, ARRAY(
      SELECT ROW(e.stream, e.expected + 1, p_type, p_topic, e.payload, e.meta)::happened
      FROM unnest(p_streams, p_expected, p_payloads, p_metas) AS e (stream, expected, payload, meta))) THEN
    RAISE EXCEPTION 'a reservation''s stream is not at its version' USING ERRCODE = 'serialization_failure';
  END IF;
END $$;

-- Second half of reserving, for many orders: holds what was planned and returns when each hold ends, in order.
-- p_plan: [{order_id, sku, warehouse, quantity}], within what reserve_lock told.
CREATE FUNCTION reserve_apply(p_tenant uuid, p_orders uuid[], p_reservations uuid[], p_rounds int[], p_hold_s int[], p_plan jsonb,
                              p_type text, p_topic text, p_payloads bytea[], p_metas jsonb[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
  held int;
  again int;
BEGIN
  -- Never waits for a reservation that somebody else has locked: that one may be waiting for our stock.
  INSERT INTO reservations (tenant_id, order_id, reservation_id, state, version, round, expires_at)
    SELECT p_tenant, n.order_id, n.reservation_id, 1, 1, n.round, now() + make_interval(secs => n.hold_s)
    FROM unnest(p_orders, p_reservations, p_rounds, p_hold_s) AS n (order_id, reservation_id, round, hold_s) ORDER BY n.order_id
    ON CONFLICT (tenant_id, order_id) DO NOTHING;
  GET DIAGNOSTICS held = ROW_COUNT;
  IF held < cardinality(p_orders) THEN
    -- An order whose hold ran out may try again, and one that is paid anew, with a new reservation; its row was found and
    -- locked.
    UPDATE reservations r SET reservation_id = n.reservation_id, state = 1, version = 1, round = n.round, updated_at = now(),
        expires_at = now() + make_interval(secs => n.hold_s)
      FROM (SELECT * FROM unnest(p_orders, p_reservations, p_rounds, p_hold_s) LIMIT cardinality(p_orders))
        AS n (order_id, reservation_id, round, hold_s)
      WHERE r.tenant_id = p_tenant AND r.order_id = n.order_id
        AND ((r.state = 5 AND r.round <= n.round) OR (r.state = 4 AND r.round < n.round));
    GET DIAGNOSTICS again = ROW_COUNT;
    IF held + again <> cardinality(p_orders) THEN
      -- Another process reserved for one of the orders since the lock: decide again.
      RAISE EXCEPTION 'an order was reserved meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    DELETE FROM allocations WHERE tenant_id = p_tenant AND order_id = ANY (p_orders);
  END IF;
  INSERT INTO allocations (tenant_id, order_id, sku, warehouse, quantity)
    SELECT p_tenant, p.order_id, p.sku, p.warehouse, p.quantity
    FROM jsonb_to_recordset(p_plan) AS p (order_id uuid, sku text, warehouse text, quantity int);
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    SELECT p_tenant, p.sku, p.warehouse, 0, p.quantity, 'RESERVE', 'ord_' || replace(p.order_id::text, '-', '')
    FROM jsonb_to_recordset(p_plan) AS p (order_id uuid, sku text, warehouse text, quantity int);
  PERFORM append_each(p_tenant, p_reservations, array_fill(0, ARRAY[cardinality(p_orders)]), p_type, p_topic,
                      p_payloads, p_metas);
  -- One update per row however many orders want it (data.md H10); the CHECKs stand behind the plan. The rows are
  -- named by their SKUs first: a plan made for empty tables would walk the stock of the tenant.
  UPDATE stock s SET reserved = s.reserved + d.units
    FROM (SELECT p.sku, p.warehouse, sum(p.quantity)::int AS units
          FROM jsonb_to_recordset(p_plan) AS p (sku text, warehouse text, quantity int) GROUP BY 1, 2) d
    WHERE s.tenant_id = p_tenant AND s.sku = ANY (ARRAY(SELECT p.sku FROM jsonb_to_recordset(p_plan) AS p (sku text)))
      AND s.sku = d.sku AND s.warehouse = d.warehouse;
  RETURN (SELECT jsonb_agg(now() + make_interval(secs => n.hold_s) ORDER BY n.at)
          FROM unnest(p_hold_s) WITH ORDINALITY AS n (hold_s, at));
END $$;

-- Second half of confirming: the holds will not run out any more.
CREATE FUNCTION reservation_confirm(p_tenant uuid, p_orders uuid[], p_streams uuid[], p_versions int[], p_type text,
                                    p_topic text, p_payloads bytea[], p_metas jsonb[]) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  confirmed int;
BEGIN
  UPDATE reservations SET state = 2, version = version + 1, updated_at = now()
    -- Hidden in an expression: the index of holds that run out must look useless here, it has all that wait.
    WHERE tenant_id = p_tenant AND order_id = ANY (p_orders) AND state + 0 = 1;
  GET DIAGNOSTICS confirmed = ROW_COUNT;
  PERFORM append_each(p_tenant, p_streams, p_versions, p_type, p_topic, p_payloads, p_metas);
  RETURN confirmed;
END $$;

-- Second half of releasing and expiring: gives back what did not leave, once. False: the state was not p_from any more.
CREATE FUNCTION reservation_end(p_tenant uuid, p_order uuid, p_from smallint, p_to smallint, p_reason text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE reservations SET state = p_to, version = version + 1, updated_at = now()
    WHERE tenant_id = p_tenant AND order_id = p_order AND state = p_from;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM FROM stock s JOIN allocations a ON a.tenant_id = s.tenant_id AND a.sku = s.sku AND a.warehouse = s.warehouse
    WHERE a.tenant_id = p_tenant AND a.order_id = p_order ORDER BY s.sku, s.warehouse FOR NO KEY UPDATE OF s;
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    SELECT p_tenant, a.sku, a.warehouse, 0, a.consumed - a.quantity, p_reason, 'ord_' || replace(p_order::text, '-', '')
    FROM allocations a WHERE a.tenant_id = p_tenant AND a.order_id = p_order AND a.consumed < a.quantity;
  UPDATE stock s SET reserved = s.reserved - (a.quantity - a.consumed)
    FROM allocations a
    WHERE a.tenant_id = p_tenant AND a.order_id = p_order AND a.consumed < a.quantity
      AND s.tenant_id = p_tenant AND s.sku = a.sku AND s.warehouse = a.warehouse;
  RETURN true;
END $$;

-- Leaves the mark that refuses a late reservation of an order that was undone before it came here, or after its hold ran
-- out.
CREATE FUNCTION reservation_mark(p_tenant uuid, p_order uuid, p_reservation uuid, p_round int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO reservations AS r (tenant_id, order_id, reservation_id, state, version, round, expires_at)
    VALUES (p_tenant, p_order, p_reservation, 4, 0, p_round, now())
    ON CONFLICT (tenant_id, order_id) DO UPDATE SET state = 4, round = p_round, updated_at = now()
      WHERE r.state = 5 OR (r.state = 4 AND r.round < p_round);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the order was reserved meanwhile' USING ERRCODE = 'serialization_failure';
  END IF;
  RETURN reservations_json(p_tenant, ARRAY[p_order])->0;
END $$;

-- Second half of consuming: units of one shipment leave a warehouse. p_lines: [{sku, quantity}], within what is left.
CREATE FUNCTION reservation_consume(p_tenant uuid, p_order uuid, p_shipment uuid, p_warehouse text, p_lines jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO consumptions (tenant_id, shipment_id, order_id, warehouse)
    VALUES (p_tenant, p_shipment, p_order, p_warehouse);
  UPDATE reservations SET state = 3, version = version + 1, updated_at = now()
    WHERE tenant_id = p_tenant AND order_id = p_order;
  PERFORM FROM stock s JOIN jsonb_to_recordset(p_lines) AS l (sku text, quantity int) ON l.sku = s.sku
    WHERE s.tenant_id = p_tenant AND s.warehouse = p_warehouse ORDER BY s.sku FOR NO KEY UPDATE OF s;
  UPDATE allocations a SET consumed = a.consumed + l.quantity
    FROM jsonb_to_recordset(p_lines) AS l (sku text, quantity int)
    WHERE a.tenant_id = p_tenant AND a.order_id = p_order AND a.sku = l.sku AND a.warehouse = p_warehouse;
  INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
    SELECT p_tenant, l.sku, p_warehouse, -l.quantity, -l.quantity, 'CONSUME', 'ord_' || replace(p_order::text, '-', '')
    FROM jsonb_to_recordset(p_lines) AS l (sku text, quantity int);
  UPDATE stock s SET on_hand = s.on_hand - l.quantity, reserved = s.reserved - l.quantity
    FROM jsonb_to_recordset(p_lines) AS l (sku text, quantity int)
    WHERE s.tenant_id = p_tenant AND s.sku = l.sku AND s.warehouse = p_warehouse;
END $$;

SELECT om_grant();
