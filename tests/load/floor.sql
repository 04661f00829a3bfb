CREATE TABLE orders (tenant_id uuid, order_id uuid, order_number bigint GENERATED ALWAYS AS IDENTITY, version int NOT NULL,
  customer_id uuid NOT NULL, state smallint NOT NULL, doc bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, order_id));
CREATE TABLE items (tenant_id uuid, order_id uuid, line int, sku int NOT NULL, quantity int NOT NULL, net bigint NOT NULL,
  PRIMARY KEY (tenant_id, order_id, line));
CREATE TABLE events (tenant_id uuid, stream_id uuid, version int, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  gpos bigint GENERATED ALWAYS AS IDENTITY, type text NOT NULL, payload bytea NOT NULL, meta jsonb NOT NULL,
  PRIMARY KEY (tenant_id, stream_id, version));
CREATE INDEX ON events (xid, gpos);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL, key uuid NOT NULL,
  payload bytea NOT NULL);
CREATE TABLE idempotency (tenant_id uuid, key text, fingerprint bytea NOT NULL, response bytea,
  PRIMARY KEY (tenant_id, key));
CREATE TABLE stock (tenant_id uuid, sku int, on_hand int NOT NULL, reserved int NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, sku), CHECK (reserved <= on_hand)) WITH (fillfactor = 60);
-- Their upkeep would run into what is measured next.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['orders', 'items', 'events', 'outbox', 'idempotency', 'stock'] LOOP
    EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off)', name);
  END LOOP;
END $$;
INSERT INTO stock SELECT '00000000-0000-0000-0000-000000000001', n, 1000000000, 0 FROM generate_series(0, 999) n;

CREATE FUNCTION floor_place(p_tenant uuid, p_order uuid, p_key text, p_skus int[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  doc bytea := decode(repeat('ab', 700), 'hex');
BEGIN
  INSERT INTO idempotency VALUES (p_tenant, p_key, decode(repeat('cd', 32), 'hex'), doc) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO orders (tenant_id, order_id, version, customer_id, state, doc) VALUES (p_tenant, p_order, 1, p_tenant, 2, doc);
  INSERT INTO items SELECT p_tenant, p_order, n, p_skus[n], 1, 1000 FROM generate_series(1, 3) n;
  INSERT INTO events (tenant_id, stream_id, version, type, payload, meta)
    VALUES (p_tenant, p_order, 1, 'ordermesh.order.v1.OrderCreated', doc, '{"correlation_id": "0193"}');
  INSERT INTO outbox (tenant_id, key, payload) VALUES (p_tenant, p_order, doc);
  FOR n IN 1 .. 3 LOOP
    UPDATE stock SET reserved = reserved + 1 WHERE tenant_id = p_tenant AND sku = p_skus[n] AND on_hand - reserved >= 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'sold out';
    END IF;
  END LOOP;
  RETURN true;
END $$;

CREATE FUNCTION floor_place_batch(p_tenant uuid, p_orders uuid[], p_keys text[], p_skus int[]) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  doc bytea := decode(repeat('ab', 700), 'hex');
BEGIN
  INSERT INTO idempotency SELECT p_tenant, k, decode(repeat('cd', 32), 'hex'), doc FROM unnest(p_keys) k;
  INSERT INTO orders (tenant_id, order_id, version, customer_id, state, doc)
    SELECT p_tenant, o, 1, p_tenant, 2, doc FROM unnest(p_orders) o;
  INSERT INTO items SELECT p_tenant, p_orders[n], l, p_skus[(n - 1) * 3 + l], 1, 1000
    FROM generate_series(1, cardinality(p_orders)) n, generate_series(1, 3) l;
  INSERT INTO events (tenant_id, stream_id, version, type, payload, meta)
    SELECT p_tenant, o, 1, 'ordermesh.order.v1.OrderCreated', doc, '{"correlation_id": "0193"}' FROM unnest(p_orders) o;
  INSERT INTO outbox (tenant_id, key, payload) SELECT p_tenant, o, doc FROM unnest(p_orders) o;
  PERFORM FROM stock WHERE tenant_id = p_tenant AND sku = ANY (p_skus) ORDER BY sku FOR NO KEY UPDATE;
  UPDATE stock s SET reserved = reserved + w.units
    FROM (SELECT sku, count(*) AS units FROM unnest(p_skus) sku GROUP BY sku) w
    WHERE s.tenant_id = p_tenant AND s.sku = w.sku AND s.on_hand - s.reserved >= w.units;
  RETURN true;
END $$;
