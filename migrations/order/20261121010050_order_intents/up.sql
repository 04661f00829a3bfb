-- The last order of each customer in short, to notice one that is sent twice under two keys (domain.md 4.7 I7).
CREATE TABLE order_intents (
  tenant_id   uuid        NOT NULL,
  customer_id uuid        NOT NULL,
  -- The same for the same lines, currency and total.
  intent      uuid        NOT NULL,
  placed_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, customer_id)
) WITH (fillfactor = 50);
SELECT om_protect('order_intents');

-- Whether the customer placed the same a moment ago; unless it is refused for that, it is the last order from now on.
CREATE FUNCTION order_intent(p_tenant uuid, p_customer uuid, p_intent uuid, p_window int, p_refuse boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  twin boolean;
BEGIN
  SELECT i.intent = p_intent AND i.placed_at > now() - make_interval(secs => p_window) INTO twin FROM order_intents i
    WHERE i.tenant_id = p_tenant AND i.customer_id = p_customer;
  twin := coalesce(twin, false);
  IF NOT (twin AND p_refuse) THEN
    INSERT INTO order_intents (tenant_id, customer_id, intent) VALUES (p_tenant, p_customer, p_intent)
      ON CONFLICT (tenant_id, customer_id) DO UPDATE SET intent = excluded.intent, placed_at = excluded.placed_at;
  END IF;
  RETURN twin;
END $$;
-- Units of products that one customer may have only so many of, by order (ORD-27).
CREATE TABLE limited_units (
  tenant_id   uuid NOT NULL,
  customer_id uuid NOT NULL,
  sku         text COLLATE "C" NOT NULL,
  order_id    uuid NOT NULL,
  units       bigint NOT NULL CHECK (units > 0),
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
    INSERT INTO limited_units (tenant_id, customer_id, sku, order_id, units)
      VALUES (p_tenant, p_customer, wanted.sku, p_order, wanted.units)
      ON CONFLICT (tenant_id, customer_id, sku, order_id) DO UPDATE SET units = excluded.units;
  END LOOP;
  RETURN NULL;
END $$;
SELECT om_grant();
