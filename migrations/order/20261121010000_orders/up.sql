-- Orders as they stand: the projection of their events, written in the same commit. `doc` is the encoded
-- ordermesh.order.v1.Order; the other columns are what lists filter by. Parts by month of the id's time (ORD-40).
CREATE TABLE orders (
  tenant_id        uuid        NOT NULL,
  order_id         uuid        NOT NULL,
  order_number     bigint      NOT NULL,
  version          int         NOT NULL,
  customer_id      uuid        NOT NULL,
  state            smallint    NOT NULL,
  -- The state, or for a lock the one before it.
  base_state       smallint    NOT NULL,
  status_retail    text        NOT NULL,
  status_lifecycle text        NOT NULL,
  currency         text        NOT NULL,
  total_minor      bigint      NOT NULL,
  skus             text[]      NOT NULL,
  doc              bytea       NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (order_id);
CREATE INDEX orders_customer ON orders (tenant_id, customer_id, order_id);
CREATE INDEX orders_state ON orders (tenant_id, state, order_id);
-- The last of the indexes: of those that look the same for an empty table the planner takes the newest.
ALTER TABLE orders ADD PRIMARY KEY (tenant_id, order_id);
SELECT om_protect('orders');
SELECT om_worker_reads('orders', 'tenant_id, order_id, customer_id, version');

-- The next order number of a tenant; drawn in the transaction that creates the orders, so numbers have no gaps.
CREATE TABLE order_counters (
  tenant_id   uuid   NOT NULL,
  next_number bigint NOT NULL,
  PRIMARY KEY (tenant_id)
) WITH (fillfactor = 10);
SELECT om_protect('order_counters');

-- First half of a batch of placements, for the caller to decide with: the next number, what of the keys is known, and when
-- the customers placed the same before. Batches of one tenant take turns from here, so that one sees what the other placed.
-- {"next": 17, "known": [[index, "<hex of fingerprint>", "<hex of answer>"], …], "last": [["<customer>", "<intent>", seconds], …]}
CREATE FUNCTION order_place_begin(p_tenant uuid, p_scopes text[], p_keys text[], p_customers uuid[], p_intents uuid[])
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  next bigint;
BEGIN
  SELECT next_number INTO next FROM order_counters WHERE tenant_id = p_tenant FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO order_counters (tenant_id, next_number) VALUES (p_tenant, 1) ON CONFLICT DO NOTHING;
    SELECT next_number INTO next FROM order_counters WHERE tenant_id = p_tenant FOR UPDATE;
  END IF;
  -- Key by key: joined, a plan that was made while the tables were empty would walk all keys of the tenant.
  RETURN jsonb_build_object('next', next,
    'known', (SELECT coalesce(jsonb_agg(jsonb_build_array(w.n - 1, encode(i.fingerprint, 'hex'), encode(i.response, 'hex'))), '[]')
      FROM unnest(p_scopes, p_keys) WITH ORDINALITY AS w (scope, key, n)
      CROSS JOIN LATERAL (SELECT fingerprint, response FROM idempotency
        WHERE tenant_id = p_tenant AND scope = w.scope AND key = w.key LIMIT 1) i),
    'last', (SELECT coalesce(jsonb_agg(jsonb_build_array(c.id, c.intent, a.age)), '[]')
      FROM unnest(p_customers, p_intents) AS c (id, intent)
      CROSS JOIN LATERAL (SELECT order_intent_age(p_tenant, c.id, c.intent) AS age) AS a WHERE a.age IS NOT NULL));
END $$;

-- Second half: number, events, projection, saga and stored answer of each fresh order, and what each customer placed.
CREATE FUNCTION order_place_commit(p_tenant uuid, p_orders uuid[], p_facts jsonb[], p_docs bytea[], p_created timestamptz[],
    p_streams uuid[], p_versions int[], p_types text[], p_topics text[], p_payloads bytea[], p_metas jsonb[], p_sagas jsonb[],
    p_scopes text[], p_keys text[], p_fingerprints bytea[], p_intents jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE order_counters SET next_number = next_number + cardinality(p_orders) WHERE tenant_id = p_tenant;
  INSERT INTO orders (tenant_id, order_id, order_number, version, customer_id, state, base_state, status_retail, status_lifecycle,
      currency, total_minor, skus, doc, created_at)
    SELECT p_tenant, o.id, (o.f->>'number')::bigint, (o.f->>'version')::int, (o.f->>'customer')::uuid, (o.f->>'state')::smallint,
      (o.f->>'state')::smallint, o.f->>'retail', o.f->>'lifecycle', o.f->>'currency', (o.f->>'total')::bigint,
      ARRAY(SELECT jsonb_array_elements_text(o.f->'skus')), o.doc, o.created
    FROM unnest(p_orders, p_facts, p_docs, p_created) AS o (id, f, doc, created);
  INSERT INTO events (tenant_id, stream_id, version, event_id, type, topic, payload, meta)
    SELECT p_tenant, e.id, e.version, gen_random_uuid(), e.type, e.topic, e.payload, e.meta
    FROM unnest(p_streams, p_versions, p_types, p_topics, p_payloads, p_metas) AS e (id, version, type, topic, payload, meta);
  INSERT INTO sagas (tenant_id, saga_id, kind, def_rev, shard, state, cause)
    SELECT p_tenant, (s->>'id')::uuid, s->>'kind', (s->>'rev')::smallint, abs(hashtext(s->>'id')::bigint % 16), s->'state', s->'cause'
    FROM unnest(p_sagas) AS s;
  -- A twin that another process wrote since order_place_begin fails here, on the key.
  INSERT INTO idempotency (tenant_id, scope, key, fingerprint, response)
    SELECT p_tenant, k.* FROM unnest(p_scopes, p_keys, p_fingerprints, p_docs) AS k (scope, key, fingerprint, doc) WHERE k.key <> '';
  PERFORM order_intents_note(p_tenant, p_intents);
  RETURN true;
END $$;

-- New pictures of orders; the orders that were at the version expected of them. The picture is all there is to an order,
-- so it is the snapshot when one is due.
CREATE FUNCTION project(p_tenant uuid, p_pictures picture[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  moved uuid[];
BEGIN
  WITH done AS (
    UPDATE orders o SET version = p.version, state = (p.doc->>'state')::smallint, doc = decode(p.doc->>'doc', 'base64'),
        base_state = CASE WHEN (p.doc->>'state')::smallint IN (14, 15) THEN o.base_state ELSE (p.doc->>'state')::smallint END,
        status_retail = p.doc->'facts'->>'retail', status_lifecycle = p.doc->'facts'->>'lifecycle',
        currency = p.doc->'facts'->>'currency', total_minor = (p.doc->'facts'->>'total')::bigint,
        skus = ARRAY(SELECT jsonb_array_elements_text(p.doc->'facts'->'skus')), updated_at = now()
      FROM (SELECT * FROM unnest(p_pictures) LIMIT cardinality(p_pictures)) AS p
      WHERE o.tenant_id = p_tenant AND o.order_id = p.stream AND o.version = p.expected RETURNING o.order_id
  ) SELECT coalesce(array_agg(order_id), '{}') INTO moved FROM done;
  PERFORM snapshot_save(p_tenant, p.stream, p.version, (p.doc->>'rev')::int, decode(p.doc->>'doc', 'base64'))
    FROM unnest(p_pictures) AS p WHERE snapshot_due(p.version, p.expected) AND p.stream = ANY (moved);
  RETURN moved;
END $$;

-- Appends to an order and projects it; false when somebody else was faster.
CREATE FUNCTION order_append(p_tenant uuid, p_order uuid, p_expected int, p_types text[], p_topics text[],
    p_payloads bytea[], p_meta jsonb, p_doc jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF project(p_tenant, ARRAY[ROW(p_order, p_expected, p_expected + cardinality(p_types), p_doc)::picture]) = '{}' THEN
    RETURN false;
  END IF;
  IF event_append(p_tenant, p_order, p_expected, p_types, p_topics, p_payloads, p_meta) IS NULL THEN
    RAISE EXCEPTION 'projection and events of order % disagree', p_order;
  END IF;
  RETURN true;
END $$;

-- One order, for reads that need nothing else; sets the tenant itself.
CREATE FUNCTION order_doc(p_tenant uuid, p_order uuid) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
  found_doc bytea;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT doc INTO found_doc FROM orders WHERE tenant_id = p_tenant AND order_id = p_order;
  RETURN found_doc;
END $$;
-- The same of many, in order; NULL for one that is not there.
CREATE FUNCTION order_docs(p_tenant uuid, p_orders uuid[]) RETURNS bytea[] LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN ARRAY(SELECT o.doc FROM unnest(p_orders) WITH ORDINALITY AS w (id, n)
    LEFT JOIN LATERAL (SELECT doc FROM orders WHERE tenant_id = p_tenant AND order_id = w.id LIMIT 1) o ON true ORDER BY w.n);
END $$;
SELECT om_grant();
