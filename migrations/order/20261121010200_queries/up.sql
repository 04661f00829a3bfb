-- What lists, searches and counts of orders stand on. Row level security admits only leakproof operators to an index, and
-- those of LIKE and of arrays are not (data.md H22): so products have rows of their own, found by = and < alone.

-- Orders by their number; what keeps numbers unique over all parts (requirements X19).
CREATE TABLE order_numbers (
  tenant_id    uuid   NOT NULL,
  order_number bigint NOT NULL,
  order_id     uuid   NOT NULL,
  PRIMARY KEY (tenant_id, order_number)
);
SELECT om_protect('order_numbers');

-- Orders by the products in them; sorted byte by byte, so that a beginning is a range.
CREATE TABLE order_skus (
  tenant_id uuid NOT NULL,
  sku       text COLLATE "C" NOT NULL,
  order_id  uuid NOT NULL,
  PRIMARY KEY (tenant_id, sku, order_id)
);
SELECT om_protect('order_skus');

CREATE FUNCTION order_listed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO order_numbers (tenant_id, order_number, order_id) SELECT tenant_id, order_number, order_id FROM fresh;
  INSERT INTO order_skus (tenant_id, sku, order_id) SELECT DISTINCT tenant_id, unnest(skus), order_id FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER listed AFTER INSERT ON orders REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION order_listed();

-- Lines come and go in a draft.
CREATE FUNCTION order_relisted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM order_skus WHERE tenant_id = NEW.tenant_id AND order_id = NEW.order_id AND sku = ANY (OLD.skus) AND NOT sku = ANY (NEW.skus);
  INSERT INTO order_skus (tenant_id, sku, order_id) SELECT DISTINCT NEW.tenant_id, unnest(NEW.skus), NEW.order_id ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER relisted AFTER UPDATE OF skus ON orders FOR EACH ROW WHEN (OLD.skus IS DISTINCT FROM NEW.skus)
  EXECUTE FUNCTION order_relisted();

-- How an order is listed, for who compares it with its events: its columns, and where it is found by number and product.
CREATE FUNCTION order_listing(p_tenant uuid, p_order uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('version', o.version, 'customer', o.customer_id, 'currency', o.currency, 'total', o.total_minor,
    'state', o.state, 'base', CASE WHEN o.state IN (14, 15) THEN o.state ELSE o.base_state END,
    'retail', o.status_retail, 'lifecycle', o.status_lifecycle,
    'created', (extract(epoch FROM o.created_at) * 1000000)::bigint,
    'number', (SELECT n.order_number FROM order_numbers n
      WHERE n.tenant_id = p_tenant AND n.order_number = o.order_number AND n.order_id = p_order),
    'skus', (SELECT coalesce(jsonb_agg(s.sku ORDER BY s.sku COLLATE "C"), '[]') FROM unnest(o.skus) AS s (sku)
      WHERE EXISTS (SELECT FROM order_skus k WHERE k.tenant_id = p_tenant AND k.sku = s.sku AND k.order_id = p_order)))
  FROM orders o WHERE o.tenant_id = p_tenant AND o.order_id = p_order
$$;

-- The conditions that a filter has, for a statement with the parameters of order_page and order_tally.
CREATE FUNCTION order_conditions(p_filter jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN 'o.tenant_id = $1'
    || CASE WHEN p_filter ? 'states' THEN ' AND o.state = ANY ($3)' ELSE '' END
    || CASE WHEN p_filter ? 'bases' THEN ' AND o.base_state = ANY ($4)' ELSE '' END
    || CASE WHEN p_filter ? 'retail' THEN ' AND o.status_retail = ANY ($5)' ELSE '' END
    || CASE WHEN p_filter ? 'lifecycle' THEN ' AND o.status_lifecycle = ANY ($6)' ELSE '' END
    || CASE WHEN p_filter ? 'customers' THEN ' AND o.customer_id = ANY ($7)' ELSE '' END
    || CASE WHEN p_filter ? 'numbers' THEN ' AND o.order_id = ANY (ARRAY(SELECT n.order_id FROM order_numbers n '
         'WHERE n.tenant_id = $1 AND n.order_number = ANY ($8)))' ELSE '' END
    || CASE WHEN p_filter ? 'skus' THEN ' AND EXISTS (SELECT FROM order_skus k WHERE k.tenant_id = $1 '
         'AND k.sku = ANY ($9) AND k.order_id = o.order_id)' ELSE '' END
    || CASE WHEN p_filter ? 'sku_from' THEN ' AND EXISTS (SELECT FROM order_skus k WHERE k.tenant_id = $1 '
         'AND k.sku >= $10 AND k.sku < $11 AND k.order_id = o.order_id)' ELSE '' END
    || CASE WHEN p_filter ? 'id_from' THEN ' AND o.order_id >= $12' ELSE '' END
    || CASE WHEN p_filter ? 'id_to' THEN ' AND o.order_id < $13' ELSE '' END
    || CASE WHEN p_filter ? 'created_from' THEN ' AND o.created_at >= $14' ELSE '' END
    || CASE WHEN p_filter ? 'created_to' THEN ' AND o.created_at < $15' ELSE '' END
    || CASE WHEN p_filter ? 'currency' THEN ' AND o.currency = $16' ELSE '' END
    || CASE WHEN p_filter ? 'total_min' THEN ' AND o.total_minor >= $17' ELSE '' END
    || CASE WHEN p_filter ? 'total_max' THEN ' AND o.total_minor <= $18' ELSE '' END;
END $$;

-- A filter as the values its conditions take.
CREATE TYPE order_filter AS (
  states smallint[], bases smallint[], retail text[], lifecycle text[], customers uuid[], numbers bigint[], skus text[],
  sku_from text, sku_to text, id_from uuid, id_to uuid, created_from timestamptz, created_to timestamptz, currency text,
  total_min bigint, total_max bigint
);

-- Orders that a filter lets through, newest first, behind an id; sets the tenant itself. The statement is made of the
-- filter's own conditions, so that it has the plan of its filter.
CREATE FUNCTION order_page(p_tenant uuid, p_filter jsonb, p_before uuid, p_limit int) RETURNS bytea[] LANGUAGE plpgsql AS $$
DECLARE
  f order_filter := jsonb_populate_record(NULL::order_filter, p_filter);
  docs bytea[];
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  EXECUTE 'SELECT array_agg(page.doc ORDER BY page.order_id DESC) FROM (SELECT o.order_id, o.doc FROM orders o WHERE '
    || order_conditions(p_filter) || CASE WHEN p_before IS NULL THEN '' ELSE ' AND o.order_id < $19' END
    || ' ORDER BY o.order_id DESC LIMIT $2) page'
    INTO docs
    USING p_tenant, p_limit, f.states, f.bases, f.retail, f.lifecycle, f.customers, f.numbers, f.skus, f.sku_from, f.sku_to,
      f.id_from, f.id_to, f.created_from, f.created_to, f.currency, f.total_min, f.total_max, p_before;
  RETURN coalesce(docs, '{}');
END $$;

-- How many orders a filter lets through, and at most so many; sets the tenant itself.
CREATE FUNCTION order_tally(p_tenant uuid, p_filter jsonb, p_most int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  f order_filter := jsonb_populate_record(NULL::order_filter, p_filter);
  counted bigint;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  EXECUTE 'SELECT count(*) FROM (SELECT FROM orders o WHERE ' || order_conditions(p_filter) || ' LIMIT $2) tally'
    INTO counted
    USING p_tenant, p_most, f.states, f.bases, f.retail, f.lifecycle, f.customers, f.numbers, f.skus, f.sku_from, f.sku_to,
      f.id_from, f.id_to, f.created_from, f.created_to, f.currency, f.total_min, f.total_max;
  RETURN counted;
END $$;
SELECT om_grant();
