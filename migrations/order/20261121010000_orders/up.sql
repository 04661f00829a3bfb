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
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, order_id)
) PARTITION BY RANGE (order_id);
CREATE INDEX orders_customer ON orders (tenant_id, customer_id, order_id);
CREATE INDEX orders_state ON orders (tenant_id, state, order_id);
SELECT om_protect('orders');
SELECT om_worker_reads('orders', 'tenant_id, order_id, customer_id, version');

-- The next order number of a tenant; drawn in the transaction that creates the orders, so numbers have no gaps.
CREATE TABLE order_counters (
  tenant_id   uuid   NOT NULL,
  next_number bigint NOT NULL,
  PRIMARY KEY (tenant_id)
) WITH (fillfactor = 10);
SELECT om_protect('order_counters');

-- First half of a batch of placements: which keys are fresh, and the first of their numbers.
-- Answers {"first": 17, "claims": [null | "<hex>", …]}; the hex is idempotency_claim's answer.
CREATE FUNCTION order_place_begin(p_tenant uuid, p_scopes text[], p_keys text[], p_fingerprints bytea[],
    p_customers uuid[], p_intents uuid[], p_windows int[], p_refusals boolean[], p_orders uuid[], p_limits jsonb[])
RETURNS jsonb
LANGUAGE plpgsql SET plan_cache_mode = auto AS $$
DECLARE
  claims jsonb := '[]';
  claim bytea;
  twins boolean[] := '{}';
  twin boolean;
  enough text;
  fresh int := 0;
  first bigint;
BEGIN
  -- Batches of one tenant take turns from here, so that one sees what the other placed.
  PERFORM FROM order_counters WHERE tenant_id = p_tenant FOR UPDATE;
  FOR n IN 1 .. cardinality(p_keys) LOOP
    claim := CASE WHEN p_keys[n] = '' THEN NULL
                  ELSE idempotency_claim(p_tenant, p_scopes[n], p_keys[n], p_fingerprints[n]) END;
    twin := claim IS NULL AND p_windows[n] > 0
      AND order_intent(p_tenant, p_customers[n], p_intents[n], p_windows[n], p_refusals[n]);
    IF twin AND p_refusals[n] THEN
      -- Not placed: the key is free for another try.
      DELETE FROM idempotency WHERE tenant_id = p_tenant AND scope = p_scopes[n] AND key = p_keys[n];
      claim := '\x02';
    ELSIF claim IS NULL AND p_limits[n] <> '{}' THEN
      enough := order_limits(p_tenant, p_customers[n], p_orders[n], p_limits[n]);
      IF enough IS NOT NULL THEN
        DELETE FROM idempotency WHERE tenant_id = p_tenant AND scope = p_scopes[n] AND key = p_keys[n];
        claim := '\x03' || convert_to(enough, 'UTF8');
      END IF;
    END IF;
    IF claim IS NULL THEN
      fresh := fresh + 1;
    END IF;
    twins := twins || twin;
    claims := claims || coalesce(to_jsonb(encode(claim, 'hex')), 'null');
  END LOOP;
  IF fresh > 0 THEN
    INSERT INTO order_counters (tenant_id, next_number) VALUES (p_tenant, 1 + fresh)
      ON CONFLICT (tenant_id) DO UPDATE SET next_number = order_counters.next_number + fresh
      RETURNING next_number - fresh INTO first;
  END IF;
  RETURN jsonb_build_object('first', first, 'claims', claims, 'twins', to_jsonb(twins));
END $$;

-- Second half: events, projection, saga and stored answer of each fresh order.
CREATE FUNCTION order_place_commit(p_tenant uuid, p_orders uuid[], p_numbers bigint[], p_customers uuid[],
    p_facts jsonb, p_docs bytea[], p_created timestamptz[], p_events uuid[], p_versions int[], p_types text[], p_topics text[],
    p_payloads bytea[], p_metas jsonb, p_sagas jsonb, p_scopes text[], p_keys text[]) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = auto AS $$
BEGIN
  INSERT INTO orders (tenant_id, order_id, order_number, version, customer_id, state, base_state, status_retail, status_lifecycle,
      currency, total_minor, skus, doc, created_at)
    SELECT p_tenant, o.id, o.number, (SELECT count(*) FROM unnest(p_events) e WHERE e = o.id), o.customer,
      (f->>'state')::smallint, (f->>'state')::smallint, f->>'retail', f->>'lifecycle', f->>'currency', (f->>'total')::bigint, ARRAY(SELECT jsonb_array_elements_text(f->'skus')),
      o.doc, o.created
    FROM unnest(p_orders, p_numbers, p_customers, p_docs, p_created) AS o (id, number, customer, doc, created)
    CROSS JOIN LATERAL (SELECT p_facts->(o.id::text) AS f) AS f;
  INSERT INTO events (tenant_id, stream_id, version, event_id, type, topic, payload, meta)
    SELECT p_tenant, e.id, e.version, gen_random_uuid(), e.type, e.topic, e.payload, p_metas->(e.id::text)
    FROM unnest(p_events, p_versions, p_types, p_topics, p_payloads) AS e (id, version, type, topic, payload);
  INSERT INTO sagas (tenant_id, saga_id, kind, def_rev, shard, state, cause)
    SELECT p_tenant, o, p_sagas->(o::text)->>'kind', (p_sagas->(o::text)->>'rev')::smallint, abs(hashtext(o::text)::bigint % 16), p_sagas->(o::text)->'state', p_sagas->(o::text)->'cause'
    FROM unnest(p_orders) AS o WHERE p_sagas ? (o::text);
  UPDATE idempotency i SET response = k.doc
    FROM unnest(p_scopes, p_keys, p_docs) AS k (scope, key, doc)
    WHERE i.tenant_id = p_tenant AND i.scope = k.scope AND i.key = k.key AND k.key <> '';
  RETURN true;
END $$;

-- The new picture of an order; false when somebody else has changed it since version p_expected. The picture is all
-- there is to an order, so it is the snapshot when one is due.
CREATE FUNCTION project(p_tenant uuid, p_stream uuid, p_expected int, p_version int, p_doc jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE orders SET version = p_version, state = (p_doc->>'state')::smallint, doc = decode(p_doc->>'doc', 'base64'),
      base_state = CASE WHEN (p_doc->>'state')::smallint IN (14, 15) THEN base_state ELSE (p_doc->>'state')::smallint END,
      status_retail = p_doc->'facts'->>'retail', status_lifecycle = p_doc->'facts'->>'lifecycle',
      currency = p_doc->'facts'->>'currency', total_minor = (p_doc->'facts'->>'total')::bigint,
      skus = ARRAY(SELECT jsonb_array_elements_text(p_doc->'facts'->'skus')), updated_at = now()
    WHERE tenant_id = p_tenant AND order_id = p_stream AND version = p_expected;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF snapshot_due(p_version, p_expected) THEN
    PERFORM snapshot_save(p_tenant, p_stream, p_version, (p_doc->>'rev')::int, decode(p_doc->>'doc', 'base64'));
  END IF;
  RETURN true;
END $$;

-- Appends to an order and projects it; false when somebody else was faster.
CREATE FUNCTION order_append(p_tenant uuid, p_order uuid, p_expected int, p_types text[], p_topics text[],
    p_payloads bytea[], p_meta jsonb, p_doc jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT project(p_tenant, p_order, p_expected, p_expected + cardinality(p_types), p_doc) THEN
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
SELECT om_grant();
