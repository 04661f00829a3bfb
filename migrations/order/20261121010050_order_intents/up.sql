-- The last orders of each customer in short, to notice one that is sent twice under two keys (domain.md 4.7 I7).
CREATE TABLE order_intents (
  tenant_id   uuid        NOT NULL,
  customer_id uuid        NOT NULL,
  -- {"<intent>": ["<order>", seconds since 1970]}; an intent is the same for the same lines, currency and total. The last
  -- 20 different ones of a day.
  recent      jsonb       NOT NULL,
  PRIMARY KEY (tenant_id, customer_id)
) WITH (fillfactor = 50);
SELECT om_protect('order_intents');

-- How many seconds ago a customer placed the same, unless that order came to nothing; NULL: not lately.
CREATE FUNCTION order_intent_age(p_tenant uuid, p_customer uuid, p_intent uuid) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  same jsonb;
BEGIN
  SELECT recent->p_intent::text INTO same FROM order_intents WHERE tenant_id = p_tenant AND customer_id = p_customer;
  IF same IS NULL OR EXISTS (SELECT FROM orders WHERE tenant_id = p_tenant AND order_id = (same->>0)::uuid
      -- PAYMENT_FAILED, CANCELLATION_PENDING, CANCELLED, FAILED: who orders again means it.
      AND state IN (7, 14, 16, 17)) THEN
    RETURN NULL;
  END IF;
  RETURN extract(epoch FROM now()) - (same->>1)::float8;
END $$;

-- Notes what customers placed, {"<customer>": {"<intent>": "<order>"}}.
CREATE FUNCTION order_intents_note(p_tenant uuid, p_intents jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO order_intents (tenant_id, customer_id, recent)
    SELECT p_tenant, c.key::uuid, (SELECT jsonb_object_agg(i.key, jsonb_build_array(i.value, extract(epoch FROM now())))
        FROM jsonb_each_text(c.value) AS i)
      FROM jsonb_each(p_intents) AS c
    ON CONFLICT (tenant_id, customer_id) DO UPDATE SET recent = excluded.recent || coalesce(
      (SELECT jsonb_object_agg(k.key, k.value) FROM (
        SELECT key, value FROM jsonb_each(order_intents.recent) WHERE (value->>1)::float8 > extract(epoch FROM now()) - 86400
          AND NOT excluded.recent ? key ORDER BY (value->>1)::float8 DESC LIMIT 19) AS k), '{}');
END $$;

-- The same of one order that is no part of a batch; how many seconds ago the customer placed the same, or NULL.
CREATE FUNCTION order_intent(p_tenant uuid, p_customer uuid, p_order uuid, p_intent uuid) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  age float8;
BEGIN
  -- Two orders of one customer take turns.
  PERFORM FROM order_counters WHERE tenant_id = p_tenant FOR UPDATE;
  age := order_intent_age(p_tenant, p_customer, p_intent);
  PERFORM order_intents_note(p_tenant, jsonb_build_object(p_customer, jsonb_build_object(p_intent, p_order)));
  RETURN age;
END $$;

-- Units of products that one customer may have only so many of, by order (ORD-27).
CREATE TABLE limited_units (
  tenant_id   uuid NOT NULL,
  customer_id uuid NOT NULL,
  sku         text COLLATE "C" NOT NULL,
  order_id    uuid NOT NULL,
  units       bigint NOT NULL CHECK (units > 0),
  -- Most that the customer might ever have when they were counted.
  most        bigint NOT NULL,
  PRIMARY KEY (tenant_id, customer_id, sku, order_id)
);
SELECT om_protect('limited_units');

-- Counts the units of an order, {"SKU": [units, most]}; the SKU that is too many of, or NULL. What was cancelled or
-- failed counts no more.
CREATE FUNCTION order_limits(p_tenant uuid, p_customer uuid, p_order uuid, p_limits jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  wanted record;
  had bigint;
BEGIN
  -- Two orders of one customer take turns.
  PERFORM FROM order_counters WHERE tenant_id = p_tenant FOR UPDATE;
  FOR wanted IN SELECT key AS sku, (value->>0)::bigint AS units, (value->>1)::bigint AS most FROM jsonb_each(p_limits) LOOP
    SELECT coalesce(sum(u.units), 0) INTO had FROM limited_units u
      LEFT JOIN orders o ON o.tenant_id = u.tenant_id AND o.order_id = u.order_id
      WHERE u.tenant_id = p_tenant AND u.customer_id = p_customer AND u.sku = wanted.sku AND u.order_id <> p_order
        -- PAYMENT_FAILED, CANCELLED, FAILED; an order of this very batch is not there yet.
        AND coalesce(o.state, 2) NOT IN (7, 16, 17);
    IF had + wanted.units > wanted.most THEN
      DELETE FROM limited_units u WHERE u.tenant_id = p_tenant AND u.customer_id = p_customer AND u.order_id = p_order;
      RETURN wanted.sku;
    END IF;
    INSERT INTO limited_units (tenant_id, customer_id, sku, order_id, units, most)
      VALUES (p_tenant, p_customer, wanted.sku, p_order, wanted.units, wanted.most)
      ON CONFLICT (tenant_id, customer_id, sku, order_id) DO UPDATE SET units = excluded.units, most = excluded.most;
  END LOOP;
  RETURN NULL;
END $$;

-- The same for an order that counted no more while its payment had failed, and does again (PAY-18).
CREATE FUNCTION order_limits_again(p_tenant uuid, p_order uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  again record;
BEGIN
  SELECT u.customer_id, jsonb_object_agg(u.sku, jsonb_build_array(u.units, u.most)) AS limits INTO again
    FROM limited_units u WHERE u.tenant_id = p_tenant AND u.order_id = p_order GROUP BY u.customer_id;
  RETURN CASE WHEN FOUND THEN order_limits(p_tenant, again.customer_id, p_order, again.limits) END;
END $$;
SELECT om_grant();
