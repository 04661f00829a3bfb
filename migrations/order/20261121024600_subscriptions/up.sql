-- Orders that come again and again (ORD-46). `doc` is the encoded ordermesh.order.v1.Subscription without what names or finds
-- a person and what he pays with: that is `sealed` (PAY-12).
CREATE TABLE subscriptions (
  tenant_id       uuid        NOT NULL,
  subscription_id uuid        NOT NULL,
  customer_id     uuid        NOT NULL,
  state           smallint    NOT NULL,
  version         int         NOT NULL,
  doc             bytea       NOT NULL,
  sealed          bytea       NOT NULL,
  -- When the renewal job looks next; NULL = it does not.
  due_at          timestamptz,
  PRIMARY KEY (tenant_id, subscription_id)
);
CREATE INDEX subscriptions_customer ON subscriptions (tenant_id, customer_id, subscription_id);
CREATE INDEX subscriptions_due ON subscriptions (due_at) WHERE due_at IS NOT NULL;
SELECT om_protect('subscriptions');
SELECT om_worker_reads('subscriptions', 'tenant_id, subscription_id, due_at');

-- Each period that was looked after, once: its key is what makes a second order of it impossible.
CREATE TABLE subscription_periods (
  tenant_id       uuid     NOT NULL,
  subscription_id uuid     NOT NULL,
  period          int      NOT NULL CHECK (period > 0),
  -- 1 ordered, 2 paid, 3 failed, 4 skipped.
  state           smallint NOT NULL,
  attempt         int      NOT NULL,
  -- Written down before the order is made; NULL = it was left out.
  order_id        uuid,
  PRIMARY KEY (tenant_id, subscription_id, period)
);
SELECT om_protect('subscription_periods');

-- What is due, [[tenant, subscription], ...]: of all tenants for the worker's role, of one for its own. Sets the tenant.
CREATE FUNCTION subscription_due(p_tenant uuid, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF p_tenant IS NOT NULL THEN
    PERFORM set_config('app.tenant', p_tenant::text, true);
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(d.tenant_id, d.subscription_id)), '[]') FROM (
    SELECT tenant_id, subscription_id FROM subscriptions
    WHERE due_at <= now() AND (p_tenant IS NULL OR tenant_id = p_tenant) ORDER BY due_at LIMIT p_most) d);
END $$;

-- Newest first, behind an id, each as doc and sealed; sets the tenant itself.
CREATE FUNCTION subscription_page(p_tenant uuid, p_customer uuid, p_states smallint[], p_before uuid, p_limit int)
RETURNS bytea[] LANGUAGE plpgsql SET plan_cache_mode = auto AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN ARRAY(SELECT part.bytes FROM (
      SELECT s.subscription_id, s.doc, s.sealed FROM subscriptions s
      WHERE s.tenant_id = p_tenant AND (p_customer IS NULL OR s.customer_id = p_customer)
        AND (p_states IS NULL OR s.state = ANY (p_states)) AND (p_before IS NULL OR s.subscription_id < p_before)
      ORDER BY s.subscription_id DESC LIMIT p_limit) page
    CROSS JOIN LATERAL unnest(ARRAY[page.doc, page.sealed]) WITH ORDINALITY AS part (bytes, n)
    ORDER BY page.subscription_id DESC, part.n);
END $$;

-- Writes a subscription, its event and the period it is about, {"period", "state", "attempt", "order", "fresh"}; false
-- when somebody else changed it since version p_expected. A fresh period that was there before fails on its key.
CREATE FUNCTION subscription_save(p_tenant uuid, p_subscription uuid, p_expected int, p_customer uuid, p_state smallint,
    p_doc bytea, p_sealed bytea, p_due timestamptz, p_period jsonb, p_type text, p_topic text, p_payload bytea, p_meta jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  IF p_expected = 0 THEN
    INSERT INTO subscriptions (tenant_id, subscription_id, customer_id, state, version, doc, sealed, due_at)
      VALUES (p_tenant, p_subscription, p_customer, p_state, 1, p_doc, p_sealed, p_due);
  ELSE
    UPDATE subscriptions SET state = p_state, version = p_expected + 1, doc = p_doc, sealed = p_sealed, due_at = p_due
      WHERE tenant_id = p_tenant AND subscription_id = p_subscription AND version = p_expected;
    IF NOT FOUND THEN
      RETURN false;
    END IF;
  END IF;
  IF (p_period->>'fresh')::boolean THEN
    INSERT INTO subscription_periods (tenant_id, subscription_id, period, state, attempt, order_id)
      VALUES (p_tenant, p_subscription, (p_period->>'period')::int, (p_period->>'state')::smallint,
        (p_period->>'attempt')::int, (p_period->>'order')::uuid);
  ELSIF p_period IS NOT NULL THEN
    UPDATE subscription_periods SET state = (p_period->>'state')::smallint, attempt = (p_period->>'attempt')::int,
        order_id = (p_period->>'order')::uuid
      WHERE tenant_id = p_tenant AND subscription_id = p_subscription AND period = (p_period->>'period')::int;
  END IF;
  IF event_append(p_tenant, p_subscription, p_expected, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta) IS NULL THEN
    RAISE EXCEPTION 'subscription % and its events disagree', p_subscription;
  END IF;
  RETURN true;
END $$;

-- Some values of a tenant that begin with less than this: an older key sealed them. Of orders there are none: what is sealed
-- there is in events, which nobody changes, and in the picture, which is what they add up to.
CREATE FUNCTION sealed_below(p_tenant uuid, p_below bytea, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('place', r.place, 'sealed', encode(r.sealed, 'hex'))), '[]') FROM (
    SELECT 'subscriptions.sealed:sub_' || replace(s.subscription_id::text, '-', '') AS place, s.sealed FROM subscriptions s
      WHERE s.tenant_id = p_tenant AND substring(s.sealed FROM 1 FOR 5) < p_below LIMIT p_most) r);
END $$;

-- Replaces a sealed value unless somebody did.
CREATE FUNCTION sealed_again(p_tenant uuid, p_place text, p_before bytea, p_after bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE subscriptions SET sealed = p_after
    WHERE tenant_id = p_tenant AND subscription_id = substring(p_place FROM '_([0-9a-f]{32})$')::uuid AND sealed = p_before;
  RETURN FOUND;
END $$;
SELECT om_grant();
