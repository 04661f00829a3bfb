-- Tells of stock that changed: StockChanged, LowStock, BackInStock (INV-06, INV-07).
--
-- The write path of an order does nothing for this but write its line of the ledger, which it does anyway. A job follows
-- the ledger below the oldest open transaction, as consumers follow the events, and tells once of all that happened to a
-- product since it looked: a product that everybody buys costs one event a look and no lock of its stock.

-- How far the ledger was told of.
CREATE TABLE ledger_cursor (
  id  smallint PRIMARY KEY CHECK (id = 1),
  xid xid8     NOT NULL,
  seq bigint   NOT NULL
) WITH (fillfactor = 10);
INSERT INTO ledger_cursor VALUES (1, '0', 0);
GRANT SELECT, UPDATE ON ledger_cursor TO om_inventory_worker;

CREATE TABLE inventory_settings (
  tenant_id           uuid NOT NULL PRIMARY KEY,
  low_stock_threshold int  NOT NULL CHECK (low_stock_threshold BETWEEN 0 AND 1000000),
  reorder_up_to       int  NOT NULL CHECK (reorder_up_to BETWEEN 0 AND 10000000)
);
SELECT om_protect('inventory_settings');

-- What was last told of a product; version counts the events of its stream.
CREATE TABLE stock_news (
  tenant_id uuid    NOT NULL,
  sku       text    COLLATE "C" NOT NULL,
  version   int     NOT NULL DEFAULT 0,
  low       boolean NOT NULL DEFAULT false,
  sold_out  boolean NOT NULL DEFAULT false,
  levels    jsonb   NOT NULL DEFAULT '[]',
  PRIMARY KEY (tenant_id, sku)
) WITH (fillfactor = 60);
SELECT om_protect('stock_news');

-- Products that could not be told of when it was their turn: nobody waits for them, and they are tried again.
CREATE TABLE stock_untold (
  tenant_id uuid        NOT NULL,
  sku       text        COLLATE "C" NOT NULL,
  next_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, sku)
);
SELECT om_protect('stock_untold');
SELECT om_worker_reads('stock_untold', 'tenant_id, sku, next_at');

CREATE FUNCTION low_threshold(p_tenant uuid) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT low_stock_threshold FROM inventory_settings WHERE tenant_id = p_tenant), 10)
$$;

CREATE FUNCTION reorder_up_to(p_tenant uuid) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT reorder_up_to FROM inventory_settings WHERE tenant_id = p_tenant), 30)
$$;

-- Goods whose ledger grew or whose time has come again, by tenant, and the place to go on from; NULL: none. Slots are told
-- by nobody.
CREATE FUNCTION stock_changes(p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  c ledger_cursor%ROWTYPE;
BEGIN
  SELECT * INTO c FROM ledger_cursor;
  RETURN (
    WITH batch AS (
      SELECT l.tenant_id, l.sku, l.xid, l.seq FROM stock_ledger l
      WHERE (l.xid, l.seq) > (c.xid, c.seq) AND l.xid < pg_snapshot_xmin(pg_current_snapshot())
      ORDER BY l.xid, l.seq LIMIT p_limit
    ), goods AS (
      -- Distinct first: hashed, where an aggregate would sort.
      SELECT d.tenant_id, jsonb_agg(d.sku) AS skus
        FROM (SELECT b.tenant_id, b.sku FROM batch b WHERE strpos(b.sku, '@') = 0
              UNION (SELECT u.tenant_id, u.sku FROM stock_untold u WHERE u.next_at <= now() LIMIT 500)) d
        GROUP BY d.tenant_id
    )
    SELECT jsonb_build_object('from_xid', c.xid::text, 'from_seq', c.seq, 'xid', coalesce(b.xid, c.xid)::text,
                              'seq', coalesce(b.seq, c.seq), 'lines', (SELECT count(*) FROM batch),
                              'tenants', (SELECT coalesce(jsonb_agg(to_jsonb(g)), '[]') FROM goods g))
    -- Found first: what is said would be built for every line of the batch.
    FROM (SELECT) one LEFT JOIN (SELECT b.xid, b.seq FROM batch b ORDER BY b.xid DESC, b.seq DESC LIMIT 1) b ON true
    WHERE b.xid IS NOT NULL OR EXISTS (SELECT FROM goods));
END $$;

-- Moves the place on unless another process did.
CREATE FUNCTION stock_changes_seen(p_from_xid text, p_from_seq bigint, p_xid text, p_seq bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE ledger_cursor SET xid = p_xid::xid8, seq = p_seq
    WHERE (xid, seq) = (p_from_xid::xid8, p_from_seq);
  RETURN FOUND;
END $$;

-- Locks what was told of some products and says what they are now.
CREATE FUNCTION stock_news_lock(p_tenant uuid, p_skus text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  -- Processes take turns at a tenant: one lock, where a lock of each row would be written and logged.
  PERFORM pg_advisory_xact_lock(hashtextextended('stock_news ' || p_tenant, 0));
  DELETE FROM stock_untold WHERE tenant_id = p_tenant AND sku = ANY (p_skus);
  -- An insert that finds its row costs ten times a look.
  IF (SELECT count(*) FROM stock_news WHERE tenant_id = p_tenant AND sku = ANY (p_skus)) < cardinality(p_skus) THEN
    INSERT INTO stock_news (tenant_id, sku) SELECT p_tenant, n.sku FROM unnest(p_skus) AS n (sku) ORDER BY n.sku
      ON CONFLICT DO NOTHING;
  END IF;
  -- A new statement sees the stock as it is under the lock: what is told of a product never goes back.
  RETURN jsonb_build_object(
    'threshold', low_threshold(p_tenant), 'reorder_up_to', reorder_up_to(p_tenant),
    'products', (SELECT jsonb_agg(jsonb_build_object('sku', n.sku, 'version', n.version, 'low', n.low,
        'sold_out', n.sold_out, 'told', n.levels, 'levels', (
          -- In the order of the key: an aggregate with an order would sort once more.
          SELECT coalesce(jsonb_agg(jsonb_build_object('warehouse', s.warehouse, 'on_hand', s.on_hand,
                                                       'reserved', s.reserved, 'safety', s.safety)), '[]')
          FROM (SELECT * FROM stock WHERE tenant_id = p_tenant AND sku = n.sku ORDER BY warehouse) s)))
      FROM (SELECT * FROM stock_news WHERE tenant_id = p_tenant AND sku = ANY (p_skus) ORDER BY sku) n));
END $$;

-- Writes what is told, with its events. p_news: [{sku, stream, version, low, sold_out, levels, types, payloads}].
CREATE FUNCTION stock_news_tell(p_tenant uuid, p_topic text, p_news jsonb, p_meta jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT events_append(p_tenant, ARRAY(
      SELECT ROW(n.stream, n.version + k, n.types[k], p_topic, decode(n.payloads[k], 'base64'), p_meta)::happened
      FROM jsonb_to_recordset(p_news) AS n (stream uuid, version int, types text[], payloads text[])
      CROSS JOIN LATERAL generate_series(1, cardinality(n.types)) AS k)) THEN
    RAISE EXCEPTION 'the news of a product are not at their version' USING ERRCODE = 'serialization_failure';
  END IF;
  UPDATE stock_news s SET version = n.version + cardinality(n.types), low = n.low, sold_out = n.sold_out, levels = n.levels
    FROM jsonb_to_recordset(p_news) AS n (sku text, version int, low boolean, sold_out boolean, levels jsonb, types text[])
    WHERE s.tenant_id = p_tenant AND s.sku = n.sku;
END $$;

SELECT om_grant();
