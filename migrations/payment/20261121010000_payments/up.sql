-- The money of orders. Amounts are minor units of the row's currency. A payment's row holds facts that only grow
-- (`logic/state.rs`); `revision` is the compare-and-set of writers, `version` the length of its event stream.

CREATE TABLE payments (
  tenant_id          uuid        NOT NULL,
  payment_id         uuid        NOT NULL,
  order_id           uuid        NOT NULL,
  state              text        NOT NULL CHECK (state IN ('PROCESSING', 'REQUIRES_ACTION', 'AUTHORIZED', 'PARTIALLY_CAPTURED',
                                 'CAPTURED', 'DECLINED', 'VOIDED', 'UNKNOWN', 'PARTIALLY_REFUNDED', 'REFUNDED')),
  -- Both are missing in the mark that a void leaves for an order never seen.
  currency           text,
  amount             bigint      CHECK (amount > 0),
  authorized         bigint      NOT NULL DEFAULT 0 CHECK (authorized >= 0),
  captured           bigint      NOT NULL DEFAULT 0 CHECK (captured >= 0),
  voided             bigint      NOT NULL DEFAULT 0 CHECK (voided >= 0),
  refunded           bigint      NOT NULL DEFAULT 0 CHECK (refunded >= 0),
  refunded_own       bigint      NOT NULL DEFAULT 0 CHECK (refunded_own >= 0),
  closed             boolean     NOT NULL DEFAULT false,
  void_requested     boolean     NOT NULL DEFAULT false,
  unknown            boolean     NOT NULL DEFAULT false,
  decline_reason     text,
  action_url         text,
  provider           text        NOT NULL,
  provider_reference text,
  authorized_at      timestamptz,
  -- Captures and refunds whose outcome is not known.
  pending            int         NOT NULL DEFAULT 0 CHECK (pending >= 0),
  -- When the resolving job looks at it; also the lease of whoever asks the provider now.
  check_at           timestamptz,
  checks             smallint    NOT NULL DEFAULT 0,
  version            int         NOT NULL DEFAULT 0,
  revision           int         NOT NULL DEFAULT 0,
  created_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, payment_id),
  CONSTRAINT payments_one_per_order UNIQUE (tenant_id, order_id),
  CONSTRAINT payments_asked CHECK ((currency IS NULL) = (amount IS NULL)),
  CONSTRAINT payments_captured CHECK (captured + voided <= authorized),
  CONSTRAINT payments_refunded CHECK (refunded <= captured AND refunded_own <= refunded)
) WITH (fillfactor = 70);
CREATE INDEX payments_due ON payments (tenant_id, check_at) WHERE check_at IS NOT NULL;
SELECT om_protect('payments');
SELECT om_worker_reads('payments', 'tenant_id, payment_id, check_at');

-- What the provider was asked to authorize, and under which key: whoever asks again asks the same.
CREATE TABLE attempts (
  tenant_id      uuid        NOT NULL,
  payment_id     uuid        NOT NULL,
  attempt        smallint    NOT NULL,
  payment_method text        NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, payment_id, attempt),
  FOREIGN KEY (tenant_id, payment_id) REFERENCES payments
);
SELECT om_protect('attempts', 'append');

-- One row per shipment, written before the provider is asked: it is the shipment's place under the limit.
CREATE TABLE captures (
  tenant_id   uuid        NOT NULL,
  shipment_id uuid        NOT NULL,
  payment_id  uuid        NOT NULL,
  amount      bigint      NOT NULL CHECK (amount > 0),
  final       boolean     NOT NULL,
  state       text        NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED')),
  code        text,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, shipment_id),
  FOREIGN KEY (tenant_id, payment_id) REFERENCES payments
);
CREATE INDEX captures_of_payment ON captures (tenant_id, payment_id);
SELECT om_protect('captures');

CREATE TABLE refunds (
  tenant_id          uuid        NOT NULL,
  refund_id          uuid        NOT NULL,
  payment_id         uuid        NOT NULL,
  amount             bigint      NOT NULL CHECK (amount > 0),
  currency           text        NOT NULL,
  reason             text        NOT NULL,
  fingerprint        bytea       NOT NULL,
  state              text        NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED')),
  code               text,
  provider_reference text,
  created_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, refund_id),
  FOREIGN KEY (tenant_id, payment_id) REFERENCES payments
);
CREATE INDEX refunds_of_payment ON refunds (tenant_id, payment_id);
SELECT om_protect('refunds');

-- Every signed event once, in the same transaction as what it changed.
CREATE TABLE webhook_events (
  tenant_id   uuid        NOT NULL,
  provider    text        NOT NULL,
  event_id    text        NOT NULL,
  kind        text        NOT NULL,
  status      text        NOT NULL CHECK (status IN ('FOLDED', 'PARKED', 'IGNORED')),
  body        bytea       NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, provider, event_id)
);
CREATE INDEX webhook_events_parked ON webhook_events (tenant_id, received_at) WHERE status = 'PARKED';
SELECT om_protect('webhook_events');
SELECT om_worker_reads('webhook_events', 'tenant_id, provider, event_id, status, received_at');

-- Begins the payment of an order. `turn`: OURS (just begun), STALE (nobody reported for 30 s: inquire), THEIRS.
CREATE FUNCTION payment_begin(p_tenant uuid, p_payment uuid, p_order uuid, p_amount bigint, p_currency text, p_provider text,
                              p_method text, p_type text, p_topic text, p_payload bytea, p_meta jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO payments (tenant_id, payment_id, order_id, state, amount, currency, provider, version, check_at)
    VALUES (p_tenant, p_payment, p_order, 'PROCESSING', p_amount, p_currency, p_provider, 1, now() + interval '30 s')
    ON CONFLICT (tenant_id, order_id) DO NOTHING RETURNING * INTO v;
  IF FOUND THEN
    INSERT INTO attempts (tenant_id, payment_id, attempt, payment_method) VALUES (p_tenant, p_payment, 1, p_method);
    PERFORM event_append(p_tenant, p_payment, 0, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
    RETURN jsonb_build_object('turn', 'OURS', 'payment', to_jsonb(v));
  END IF;
  UPDATE payments SET check_at = now() + interval '30 s'
    WHERE tenant_id = p_tenant AND order_id = p_order AND state IN ('PROCESSING', 'UNKNOWN') AND check_at <= now()
    RETURNING * INTO v;
  IF FOUND THEN
    RETURN jsonb_build_object('turn', 'STALE', 'payment', to_jsonb(v));
  END IF;
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order;
  RETURN jsonb_build_object('turn', 'THEIRS', 'payment', to_jsonb(v));
END $$;

-- A payment by its id or its order; NULL when there is none.
CREATE FUNCTION payment_get(p_tenant uuid, p_payment uuid, p_order uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF p_payment IS NOT NULL THEN
    SELECT to_jsonb(p) INTO v FROM payments p WHERE tenant_id = p_tenant AND payment_id = p_payment;
  ELSE
    SELECT to_jsonb(p) INTO v FROM payments p WHERE tenant_id = p_tenant AND order_id = p_order;
  END IF;
  RETURN v;
END $$;

-- The method that the provider was asked with.
CREATE FUNCTION payment_method(p_tenant uuid, p_payment uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT a.payment_method FROM attempts a WHERE a.tenant_id = p_tenant AND a.payment_id = p_payment
          ORDER BY a.attempt DESC LIMIT 1);
END $$;

-- Writes facts, the end of a capture or refund, and events, all or nothing; NULL when the row moved on meanwhile.
CREATE FUNCTION payment_settle(p_tenant uuid, p_payment uuid, p_revision int, p_doc jsonb, p_types text[], p_topics text[],
                               p_payloads bytea[], p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  n int := cardinality(p_types);
  settled int := CASE WHEN p_doc ? 'capture' OR p_doc ? 'refund' THEN 1 ELSE 0 END;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE payments p SET state = d.state, authorized = d.authorized, captured = d.captured, voided = d.voided,
      refunded = d.refunded, refunded_own = d.refunded_own, closed = d.closed, void_requested = d.void_requested,
      unknown = d.unknown, decline_reason = d.decline_reason, action_url = d.action_url,
      provider_reference = d.provider_reference, pending = p.pending - settled,
      authorized_at = CASE WHEN d.authorized > 0 THEN coalesce(p.authorized_at, now()) END,
      check_at = CASE WHEN d.unresolved OR p.pending > settled THEN coalesce(p.check_at, now() + interval '30 s') END,
      version = p.version + n, revision = p.revision + 1
    FROM jsonb_to_record(p_doc) AS d(state text, authorized bigint, captured bigint, voided bigint, refunded bigint,
      refunded_own bigint, closed boolean, void_requested boolean, unknown boolean, decline_reason text, action_url text,
      provider_reference text, unresolved boolean)
    WHERE p.tenant_id = p_tenant AND p.payment_id = p_payment AND p.revision = p_revision
    RETURNING p.* INTO v;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF p_doc ? 'capture' THEN
    UPDATE captures SET state = p_doc #>> '{capture,state}', code = p_doc #>> '{capture,code}'
      WHERE tenant_id = p_tenant AND shipment_id = (p_doc #>> '{capture,id}')::uuid AND state = 'PENDING';
  ELSIF p_doc ? 'refund' THEN
    UPDATE refunds SET state = p_doc #>> '{refund,state}', code = p_doc #>> '{refund,code}',
        provider_reference = p_doc #>> '{refund,provider_reference}'
      WHERE tenant_id = p_tenant AND refund_id = (p_doc #>> '{refund,id}')::uuid AND state = 'PENDING';
  END IF;
  IF settled = 1 AND NOT FOUND THEN
    RAISE EXCEPTION 'a capture or refund of payment % ended twice', p_payment;
  END IF;
  IF n > 0 AND event_append(p_tenant, p_payment, v.version - n, p_types, p_topics, p_payloads, p_meta) IS NULL THEN
    RAISE EXCEPTION 'the events of payment % are not at version %', p_payment, v.version - n;
  END IF;
  RETURN to_jsonb(v);
END $$;

-- Marks that the order wants no money held. An order never seen gets a row that refuses a late authorization.
CREATE FUNCTION payment_void(p_tenant uuid, p_payment uuid, p_order uuid, p_provider text, p_type text, p_topic text,
                             p_payload bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO payments (tenant_id, payment_id, order_id, state, provider, void_requested, version)
    VALUES (p_tenant, p_payment, p_order, 'VOIDED', p_provider, true, 1)
    ON CONFLICT (tenant_id, order_id) DO NOTHING RETURNING * INTO v;
  IF FOUND THEN
    PERFORM event_append(p_tenant, p_payment, 0, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
    RETURN to_jsonb(v);
  END IF;
  -- While the provider is being asked nobody knows: only an inquiry may call it voided (S1).
  UPDATE payments p SET void_requested = true, revision = p.revision + 1,
      unknown = p.unknown OR p.state = 'PROCESSING',
      state = CASE WHEN p.state = 'PROCESSING' THEN 'UNKNOWN' ELSE p.state END,
      check_at = coalesce(p.check_at, now() + interval '30 s')
    WHERE tenant_id = p_tenant AND order_id = p_order AND NOT void_requested RETURNING * INTO v;
  IF NOT FOUND THEN
    SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order;
  END IF;
  RETURN to_jsonb(v);
END $$;

-- Takes a shipment's place under the limit. `verdict`: NONE, SEEN, CURRENCY, CLOSED, EXPIRED, BUSY, EXCEEDS or BEGUN.
CREATE FUNCTION capture_begin(p_tenant uuid, p_order uuid, p_shipment uuid, p_amount bigint, p_currency text, p_final boolean)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  c captures%ROWTYPE;
  taken bigint;
  busy boolean;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'NONE');
  END IF;
  SELECT * INTO c FROM captures WHERE tenant_id = p_tenant AND shipment_id = p_shipment;
  IF FOUND THEN
    RETURN jsonb_build_object('verdict', 'SEEN', 'payment', to_jsonb(v), 'entry', to_jsonb(c));
  END IF;
  SELECT greatest(coalesce(sum(amount), 0), v.captured), coalesce(bool_or(state = 'PENDING' AND (final OR p_final)), false)
    INTO taken, busy
    FROM captures WHERE tenant_id = p_tenant AND payment_id = v.payment_id AND state <> 'FAILED';
  verdict := CASE
    WHEN v.currency IS DISTINCT FROM p_currency THEN 'CURRENCY'
    WHEN v.authorized = 0 OR v.closed OR v.void_requested THEN 'CLOSED'
    WHEN v.authorized_at < now() - interval '7 days' THEN 'EXPIRED'
    WHEN busy THEN 'BUSY'
    WHEN p_amount > v.authorized - taken THEN 'EXCEEDS'
    ELSE 'BEGUN' END;
  IF verdict = 'BEGUN' THEN
    INSERT INTO captures (tenant_id, shipment_id, payment_id, amount, final)
      VALUES (p_tenant, p_shipment, v.payment_id, p_amount, p_final) RETURNING * INTO c;
    UPDATE payments SET pending = pending + 1, revision = revision + 1, check_at = coalesce(check_at, now() + interval '30 s')
      WHERE tenant_id = p_tenant AND payment_id = v.payment_id RETURNING * INTO v;
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'payment', to_jsonb(v), 'entry', to_jsonb(c),
    'remaining', v.authorized - taken);
END $$;

-- Takes a refund's place under the limit. `verdict`: NONE, SEEN, CURRENCY, EXCEEDS or BEGUN. A NULL amount means all
-- that is left, and there may be nothing (EXCEEDS).
CREATE FUNCTION refund_begin(p_tenant uuid, p_payment uuid, p_refund uuid, p_amount bigint, p_currency text, p_reason text,
                             p_fingerprint bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  r refunds%ROWTYPE;
  remaining bigint;
  wanted bigint;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND payment_id = p_payment FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'NONE');
  END IF;
  SELECT * INTO r FROM refunds WHERE tenant_id = p_tenant AND refund_id = p_refund;
  IF FOUND THEN
    RETURN jsonb_build_object('verdict', 'SEEN', 'payment', to_jsonb(v), 'entry', to_jsonb(r),
      'same', r.fingerprint = p_fingerprint);
  END IF;
  -- The provider's count may already hold refunds of ours whose answer is on the way: the larger sum, not both.
  SELECT v.captured - greatest(coalesce(sum(amount), 0), v.refunded) INTO remaining
    FROM refunds WHERE tenant_id = p_tenant AND payment_id = p_payment AND state <> 'FAILED';
  wanted := coalesce(p_amount, remaining);
  verdict := CASE
    WHEN p_currency IS NOT NULL AND v.currency IS DISTINCT FROM p_currency THEN 'CURRENCY'
    WHEN wanted <= 0 OR wanted > remaining THEN 'EXCEEDS'
    ELSE 'BEGUN' END;
  IF verdict = 'BEGUN' THEN
    INSERT INTO refunds (tenant_id, refund_id, payment_id, amount, currency, reason, fingerprint)
      VALUES (p_tenant, p_refund, p_payment, wanted, v.currency, p_reason, p_fingerprint) RETURNING * INTO r;
    UPDATE payments SET pending = pending + 1, revision = revision + 1, check_at = coalesce(check_at, now() + interval '30 s')
      WHERE tenant_id = p_tenant AND payment_id = p_payment RETURNING * INTO v;
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'payment', to_jsonb(v), 'entry', to_jsonb(r), 'remaining', remaining);
END $$;

-- The payment with its captures and refunds that have not ended.
CREATE FUNCTION payment_open_entries(p_tenant uuid, p_payment uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN jsonb_build_object(
    'payment', (SELECT to_jsonb(p) FROM payments p WHERE tenant_id = p_tenant AND payment_id = p_payment),
    'captures', (SELECT coalesce(jsonb_agg(to_jsonb(c)), '[]') FROM captures c
                 WHERE tenant_id = p_tenant AND payment_id = p_payment AND state = 'PENDING'),
    'refunds', (SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM refunds r
                WHERE tenant_id = p_tenant AND payment_id = p_payment AND state = 'PENDING'));
END $$;

-- Takes the next look at a payment that is due; NULL when somebody else did. The pause doubles up to about an hour.
CREATE FUNCTION payment_claim(p_tenant uuid, p_payment uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE payments SET check_at = now() + interval '30 s' * (1 << least(checks, 7)), checks = least(checks + 1, 100)
    WHERE tenant_id = p_tenant AND payment_id = p_payment AND check_at <= now() RETURNING * INTO v;
  RETURN CASE WHEN FOUND THEN to_jsonb(v) END;
END $$;

-- Stores a signed event once, with what it changes: FRESH, DUPLICATE or STALE (the payment moved on: fold again).
CREATE FUNCTION webhook_store(p_tenant uuid, p_provider text, p_event text, p_kind text, p_status text, p_body bytea,
                              p_payment uuid, p_revision int, p_doc jsonb, p_types text[], p_topics text[],
                              p_payloads bytea[], p_meta jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF EXISTS (SELECT FROM webhook_events WHERE tenant_id = p_tenant AND provider = p_provider AND event_id = p_event
             AND NOT (status = 'PARKED' AND p_status <> 'PARKED')) THEN
    RETURN 'DUPLICATE';
  END IF;
  IF p_doc IS NOT NULL
     AND payment_settle(p_tenant, p_payment, p_revision, p_doc, p_types, p_topics, p_payloads, p_meta) IS NULL THEN
    RETURN 'STALE';
  END IF;
  INSERT INTO webhook_events (tenant_id, provider, event_id, kind, status, body)
    VALUES (p_tenant, p_provider, p_event, p_kind, p_status, p_body)
    ON CONFLICT (tenant_id, provider, event_id) DO UPDATE SET status = excluded.status
      WHERE webhook_events.status = 'PARKED';
  RETURN CASE WHEN FOUND THEN 'FRESH' ELSE 'DUPLICATE' END;
END $$;

-- The body of a parked event.
CREATE FUNCTION webhook_body(p_tenant uuid, p_provider text, p_event text) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT body FROM webhook_events
          WHERE tenant_id = p_tenant AND provider = p_provider AND event_id = p_event AND status = 'PARKED');
END $$;

SELECT om_grant();
