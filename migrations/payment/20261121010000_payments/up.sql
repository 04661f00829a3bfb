-- The money of orders. Amounts are minor units of the row's currency. A payment's row holds facts that only grow
-- (`logic/state.rs`); `revision` is the compare-and-set of writers, `version` the length of its event stream.

CREATE TABLE payments (
  tenant_id          uuid        NOT NULL,
  payment_id         uuid        NOT NULL,
  order_id           uuid        NOT NULL,
  state              text        NOT NULL CHECK (state IN ('PROCESSING', 'REQUIRES_ACTION', 'AUTHORIZED', 'PARTIALLY_CAPTURED',
                                 'CAPTURED', 'DECLINED', 'VOIDED', 'UNKNOWN', 'PARTIALLY_REFUNDED', 'REFUNDED', 'EXPIRED',
                                 'DISPUTED')),
  -- Both are missing in the mark that a void leaves for an order never seen.
  currency           text,
  amount             bigint      CHECK (amount > 0),
  authorized         bigint      NOT NULL DEFAULT 0 CHECK (authorized >= 0),
  captured           bigint      NOT NULL DEFAULT 0 CHECK (captured >= 0),
  voided             bigint      NOT NULL DEFAULT 0 CHECK (voided >= 0),
  refunded           bigint      NOT NULL DEFAULT 0 CHECK (refunded >= 0),
  refunded_own       bigint      NOT NULL DEFAULT 0 CHECK (refunded_own >= 0),
  -- Refunds of ours that came back from the bank: the provider's older counts still hold them.
  refund_returned    bigint      NOT NULL DEFAULT 0 CHECK (refund_returned >= 0),
  closed             boolean     NOT NULL DEFAULT false,
  void_requested     boolean     NOT NULL DEFAULT false,
  unknown            boolean     NOT NULL DEFAULT false,
  decline_reason     text,
  action_url         text,
  -- What the bank said of address and security code; the code itself is never seen here (FRD-01, FRD-02).
  avs_result         text        CHECK (avs_result IN ('PASS', 'UNAVAILABLE', 'FAIL')),
  cvv_result         text        CHECK (cvv_result IN ('PASS', 'UNAVAILABLE', 'FAIL')),
  provider           text        NOT NULL,
  provider_reference text,
  authorized_at      timestamptz,
  -- The customer, when the order told us.
  customer_id        uuid,
  -- Which round of paying the order it belongs to: an order whose payment failed and that is paid again has another
  -- payment, so that what the former still turns out to hold is let go by itself (PAY-18).
  round              int         NOT NULL DEFAULT 1 CHECK (round >= 1),
  -- Attempts that ended, by the provider's id: nothing they report changes a later one.
  attempt            smallint    NOT NULL DEFAULT 1,
  old_references     text[]      NOT NULL DEFAULT '{}',
  -- The most that the provider was ever asked to hold: the amount and its increments.
  ceiling            bigint      NOT NULL DEFAULT 0,
  -- Taken when authorized, not per shipment.
  immediate          boolean     NOT NULL DEFAULT false,
  -- The money came outside of any provider.
  manual             boolean     NOT NULL DEFAULT false,
  -- A provider that was asked before, whose answer got lost: what turns up there is let go (PAY-09).
  stray              text,
  -- 0 open, 1 its end was announced, 2 ended; `hold_at` is when the next of these is due.
  hold               smallint    NOT NULL DEFAULT 0 CHECK (hold BETWEEN 0 AND 2),
  hold_at            timestamptz,
  -- Refunds without an outcome, and what banks took back or want to: by the provider's id of the dispute.
  refund_pending     bigint      NOT NULL DEFAULT 0 CHECK (refund_pending >= 0),
  disputes           jsonb       NOT NULL DEFAULT '{}',
  disputed           bigint      NOT NULL DEFAULT 0 CHECK (disputed >= 0),
  -- Captures and refunds whose outcome is not known.
  pending            int         NOT NULL DEFAULT 0 CHECK (pending >= 0),
  -- When the resolving job looks at it; also the lease of whoever asks the provider now.
  check_at           timestamptz,
  checks             smallint    NOT NULL DEFAULT 0,
  version            int         NOT NULL DEFAULT 0,
  revision           int         NOT NULL DEFAULT 0,
  created_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, payment_id),
  CONSTRAINT payments_one_per_round UNIQUE (tenant_id, order_id, round),
  CONSTRAINT payments_asked CHECK ((currency IS NULL) = (amount IS NULL)),
  CONSTRAINT payments_captured CHECK (captured + voided <= authorized),
  CONSTRAINT payments_refunded CHECK (refunded_own <= refunded
    -- The provider's count may hold refunds of ours whose answer is on the way: the larger sum, not both (M11).
    AND greatest(refunded, refunded_own + refund_pending) + disputed <= captured)
) WITH (fillfactor = 70);
CREATE INDEX payments_due ON payments (tenant_id, check_at) WHERE check_at IS NOT NULL;
SELECT om_protect('payments');
SELECT om_worker_reads('payments', 'tenant_id, payment_id, check_at, hold_at');
CREATE INDEX payments_holds ON payments (tenant_id, hold_at) WHERE hold_at IS NOT NULL;
CREATE INDEX payments_by_reference ON payments (tenant_id, provider_reference) WHERE provider_reference IS NOT NULL;

-- Who did what to a payment, when, over how much, with what it was before and after; nobody can change it (PAY-13).
CREATE TABLE payment_log (
  tenant_id      uuid        NOT NULL,
  payment_id     uuid        NOT NULL,
  seq            int         NOT NULL,
  action         text        NOT NULL,
  actor_kind     text        NOT NULL,
  actor_id       text        NOT NULL,
  correlation_id text        NOT NULL,
  amount         bigint,
  currency       text,
  before         jsonb,
  after          jsonb       NOT NULL,
  note           text        NOT NULL DEFAULT '',
  occurred_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, payment_id, seq)
);
SELECT om_protect('payment_log', 'append');

-- The part of a payment's row that the audit keeps.
CREATE FUNCTION payment_figures(p payments) RETURNS jsonb LANGUAGE sql STABLE
  RETURN jsonb_build_object('state', p.state, 'authorized', p.authorized, 'captured', p.captured, 'voided', p.voided,
    'refunded', p.refunded, 'refund_pending', p.refund_pending, 'disputed', p.disputed, 'attempt', p.attempt);

-- What a change of a payment's row is called, and over how much it was.
CREATE FUNCTION payment_change(o payments, n payments, OUT o_action text, OUT o_amount bigint) LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  -- Not as a query over the cases: this runs at each change of a payment.
  IF o.payment_id IS NULL AND n.currency IS NULL THEN
    o_action := 'VOID_MARKED';
  ELSIF o.payment_id IS NULL THEN
    o_action := 'AUTHORIZATION_REQUESTED';
    o_amount := n.amount;
  ELSIF n.manual AND NOT o.manual THEN
    o_action := 'MARKED_PAID';
    o_amount := n.captured;
  ELSIF n.disputes <> o.disputes THEN
    o_action := 'DISPUTE_CHANGED';
    o_amount := abs(n.disputed - o.disputed);
  ELSIF n.refund_returned > o.refund_returned THEN
    o_action := 'REFUND_RETURNED';
    o_amount := n.refund_returned - o.refund_returned;
  ELSIF n.refunded > o.refunded THEN
    o_action := 'REFUNDED';
    o_amount := n.refunded - o.refunded;
  ELSIF n.refund_pending > o.refund_pending THEN
    o_action := 'REFUND_REQUESTED';
    o_amount := n.refund_pending - o.refund_pending;
  ELSIF n.refund_pending < o.refund_pending THEN
    o_action := 'REFUND_ENDED';
    o_amount := o.refund_pending - n.refund_pending;
  ELSIF n.captured > o.captured THEN
    o_action := 'CAPTURED';
    o_amount := n.captured - o.captured;
  ELSIF n.attempt > o.attempt THEN
    o_action := 'REAUTHORIZATION_REQUESTED';
    o_amount := n.amount;
  ELSIF n.authorized > o.authorized AND o.authorized > 0 THEN
    o_action := 'INCREMENTED';
    o_amount := n.authorized - o.authorized;
  ELSIF n.authorized > o.authorized THEN
    o_action := 'AUTHORIZED';
    o_amount := n.authorized;
  ELSIF n.ceiling > o.ceiling THEN
    o_action := 'INCREMENT_REQUESTED';
    o_amount := n.ceiling - o.ceiling;
  ELSIF n.pending > o.pending THEN
    o_action := 'CAPTURE_REQUESTED';
  ELSIF n.hold > o.hold THEN
    o_action := CASE n.hold WHEN 1 THEN 'HOLD_EXPIRING' ELSE 'HOLD_EXPIRED' END;
    o_amount := n.authorized - n.captured;
  ELSIF n.voided > o.voided THEN
    o_action := 'VOIDED';
    o_amount := n.voided - o.voided;
  ELSIF n.provider <> o.provider THEN
    o_action := 'PROVIDER_SWITCHED';
    o_amount := n.amount;
  ELSIF n.void_requested AND NOT o.void_requested THEN
    o_action := 'VOID_REQUESTED';
  ELSIF n.state <> o.state THEN
    o_action := n.state;
  ELSE
    o_action := 'NOTED';
  END IF;
END $$;

-- Once a statement, which may write many payments. `app.meta` says who did it: of all of them, or by payment in `of`; and
-- what the row cannot tell, such as a refused capture: `action` and `amount`, heard where the change has no amount. Of
-- whoever writes, with whatever search path. Before and after are joined by a hash: row by row they would be compared each
-- with each, over 45 columns. What is called for each row is a loop that costs by decree, which must not start the JIT.
CREATE FUNCTION payment_audit() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_nestloop = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
  meta jsonb := coalesce(nullif(current_setting('app.meta', true), ''), '{}')::jsonb;
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO payment_log (tenant_id, payment_id, seq, action, actor_kind, actor_id, correlation_id, amount, currency,
        before, after, note)
      SELECT n.tenant_id, n.payment_id, n.revision, c.o_action, coalesce(w.who->>'actor_kind', 'system'),
        coalesce(w.who->>'actor_id', ''), coalesce(w.who->>'correlation_id', ''), c.o_amount, n.currency,
        NULL, payment_figures(n), coalesce(w.who->>'note', '')
      FROM fresh n CROSS JOIN LATERAL payment_change(NULL, n) AS c
      CROSS JOIN LATERAL (SELECT coalesce(meta->'of'->n.payment_id::text, meta) AS who OFFSET 0) AS w;
  ELSE
    INSERT INTO payment_log (tenant_id, payment_id, seq, action, actor_kind, actor_id, correlation_id, amount, currency,
        before, after, note)
      SELECT n.tenant_id, n.payment_id, n.revision,
        CASE WHEN c.o_amount IS NULL THEN coalesce(w.who->>'action', c.o_action) ELSE c.o_action END,
        coalesce(w.who->>'actor_kind', 'system'), coalesce(w.who->>'actor_id', ''),
        coalesce(w.who->>'correlation_id', ''), coalesce(c.o_amount, (w.who->>'amount')::bigint), n.currency,
        payment_figures(o), payment_figures(n), coalesce(w.who->>'note', '')
      FROM stale o JOIN fresh n ON n.tenant_id = o.tenant_id AND n.payment_id = o.payment_id AND n.revision <> o.revision
      CROSS JOIN LATERAL payment_change(o, n) AS c
      CROSS JOIN LATERAL (SELECT coalesce(meta->'of'->n.payment_id::text, meta) AS who OFFSET 0) AS w;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER payments_begun AFTER INSERT ON payments REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION payment_audit();
CREATE TRIGGER payments_changed AFTER UPDATE ON payments REFERENCING OLD TABLE AS stale NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION payment_audit();

-- What the provider was asked to authorize, and under which key: whoever asks again asks the same.
CREATE TABLE attempts (
  tenant_id      uuid        NOT NULL,
  payment_id     uuid        NOT NULL,
  attempt        smallint    NOT NULL,
  -- The provider's token and the mandate, sealed with the tenant's key (PAY-12).
  instrument     bytea       NOT NULL,
  -- Why it was refused, once another has begun; of the latest the payment says it.
  decline_reason text,
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, payment_id, attempt),
  FOREIGN KEY (tenant_id, payment_id) REFERENCES payments
);
SELECT om_protect('attempts');

-- One row per shipment, written before the provider is asked: it is the shipment's place under the limit.
CREATE TABLE captures (
  tenant_id   uuid        NOT NULL,
  shipment_id uuid        NOT NULL,
  payment_id  uuid        NOT NULL,
  -- Whose hold it takes from; refused under one it may be tried again under a later.
  attempt     smallint    NOT NULL,
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

-- One row per increment of a hold, written before the provider is asked.
CREATE TABLE increments (
  tenant_id    uuid        NOT NULL,
  increment_id uuid        NOT NULL,
  payment_id   uuid        NOT NULL,
  amount       bigint      NOT NULL CHECK (amount > 0),
  -- What is to be held in total.
  target       bigint      NOT NULL,
  fingerprint  bytea       NOT NULL,
  state        text        NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED')),
  code         text,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, increment_id),
  FOREIGN KEY (tenant_id, payment_id) REFERENCES payments
);
CREATE INDEX increments_of_payment ON increments (tenant_id, payment_id);
SELECT om_protect('increments');

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
  -- As it was sent, sealed with the tenant's key (PAY-12).
  body        bytea       NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, provider, event_id)
);
CREATE INDEX webhook_events_parked ON webhook_events (tenant_id, received_at) WHERE status = 'PARKED';
SELECT om_protect('webhook_events');
SELECT om_worker_reads('webhook_events', 'tenant_id, provider, event_id, status, received_at');

-- The payment of an order: of the latest round, but for money that came outside of the providers.
CREATE FUNCTION payment_of(p_tenant uuid, p_order uuid) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
  SELECT p.payment_id FROM payments p WHERE p.tenant_id = p_tenant AND p.order_id = p_order
      ORDER BY p.manual DESC, p.round DESC LIMIT 1);
END $$;

-- A payment that an order wants to begin in a round of paying; the texts are base64.
CREATE TYPE beginning AS (
  payment uuid, order_id uuid, round int, amount bigint, currency text, provider text, instrument text, customer uuid,
  immediate boolean, type text, topic text, payload text, meta jsonb
);

-- The payment that an order has in a round, or what was paid for it outside of the providers, for somebody who came second.
CREATE FUNCTION payment_begun(p_tenant uuid, p_order uuid, p_round int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order AND round < p_round AND manual LIMIT 1;
  IF FOUND THEN
    RETURN jsonb_build_object('turn', 'THEIRS', 'payment', to_jsonb(v));
  END IF;
  UPDATE payments SET check_at = now() + interval '30 s'
    WHERE tenant_id = p_tenant AND order_id = p_order AND round = p_round AND state IN ('PROCESSING', 'UNKNOWN')
      AND check_at <= now()
    RETURNING * INTO v;
  IF FOUND THEN
    RETURN jsonb_build_object('turn', 'STALE', 'payment', to_jsonb(v));
  END IF;
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order AND round = p_round;
  RETURN jsonb_build_object('turn', 'THEIRS', 'payment', to_jsonb(v));
END $$;

-- Lets go of what earlier rounds hold or come to hold, for the order is never charged twice; false when one of them was
-- paid outside of the providers.
CREATE FUNCTION payment_supersede(p_tenant uuid, p_order uuid, p_round int, p_meta jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.meta', p_meta::text, true);
  -- Locked first, so that nobody marks the former as paid while the provider is asked for more.
  PERFORM FROM payments WHERE tenant_id = p_tenant AND order_id = p_order AND round < p_round ORDER BY round FOR UPDATE;
  IF EXISTS (SELECT FROM payments WHERE tenant_id = p_tenant AND order_id = p_order AND round < p_round AND manual) THEN
    RETURN false;
  END IF;
  UPDATE payments p SET void_requested = true, revision = p.revision + 1,
      unknown = p.unknown OR p.state = 'PROCESSING',
      state = CASE WHEN p.state = 'PROCESSING' THEN 'UNKNOWN' ELSE p.state END,
      check_at = coalesce(p.check_at, now() + interval '30 s')
    WHERE tenant_id = p_tenant AND order_id = p_order AND round < p_round AND NOT void_requested;
  RETURN true;
END $$;

-- Begins payments of orders, in order: [{turn, payment}]. `turn`: OURS (just begun: of the payment only its created_at),
-- STALE (nobody reported for 30 s: inquire), THEIRS.
CREATE FUNCTION payments_begin(p_tenant uuid, p_items jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  items beginning[] := ARRAY(SELECT i FROM jsonb_populate_recordset(NULL::beginning, p_items) AS i);
  item beginning;
  paid uuid[] := '{}';
  begun payments[];
BEGIN
  FOREACH item IN ARRAY items LOOP
    IF item.round > 1 AND NOT payment_supersede(p_tenant, item.order_id, item.round, item.meta) THEN
      paid := paid || item.payment;
    END IF;
  END LOOP;
  PERFORM set_config('app.meta', (SELECT jsonb_build_object('of', jsonb_object_agg(i.payment, i.meta)) FROM unnest(items) AS i)::text, true);
  WITH fresh AS (
    INSERT INTO payments AS p (tenant_id, payment_id, order_id, round, state, amount, ceiling, currency, provider, customer_id,
        immediate, version, check_at)
      SELECT p_tenant, i.payment, i.order_id, i.round, 'PROCESSING', i.amount, i.amount, i.currency, i.provider, i.customer,
        i.immediate, 1, now() + interval '30 s'
      FROM unnest(items) AS i WHERE NOT i.payment = ANY (paid)
      ON CONFLICT (tenant_id, order_id, round) DO NOTHING RETURNING p.*
  ) SELECT coalesce(array_agg(ROW(fresh.*)::payments), '{}') INTO begun FROM fresh;
  INSERT INTO attempts (tenant_id, payment_id, attempt, instrument)
    SELECT p_tenant, i.payment, 1, decode(i.instrument, 'base64') FROM unnest(begun) AS b JOIN unnest(items) AS i ON i.payment = b.payment_id;
  IF NOT events_append(p_tenant, ARRAY(SELECT ROW(i.payment, 1, i.type, i.topic, decode(i.payload, 'base64'), i.meta)::happened
      FROM unnest(begun) AS b JOIN unnest(items) AS i ON i.payment = b.payment_id)) THEN
    RAISE EXCEPTION 'a payment that begins has events';
  END IF;
  RETURN (SELECT jsonb_agg(CASE WHEN b.payment_id IS NOT NULL THEN jsonb_build_object('turn', 'OURS', 'created_at', b.created_at)
      ELSE payment_begun(p_tenant, i.order_id, i.round) END ORDER BY i.ordinality)
    FROM unnest(items) WITH ORDINALITY AS i LEFT JOIN unnest(begun) AS b ON b.payment_id = i.payment);
END $$;

-- A payment by its id, or by its order and round; NULL when there is none. Money that came outside of the providers pays
-- for later rounds too.
CREATE FUNCTION payment_get(p_tenant uuid, p_payment uuid, p_order uuid, p_round int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF p_payment IS NOT NULL THEN
    SELECT to_jsonb(p) INTO v FROM payments p WHERE tenant_id = p_tenant AND payment_id = p_payment;
  ELSE
    SELECT to_jsonb(p) INTO v FROM payments p
      WHERE tenant_id = p_tenant AND order_id = p_order AND (round = p_round OR round < p_round AND manual)
      ORDER BY manual DESC LIMIT 1;
  END IF;
  RETURN v;
END $$;

-- What the provider was asked with.
CREATE FUNCTION payment_instrument(p_tenant uuid, p_payment uuid) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT a.instrument FROM attempts a WHERE a.tenant_id = p_tenant AND a.payment_id = p_payment
          ORDER BY a.attempt DESC LIMIT 1);
END $$;

-- What was refused of an order up to a round of paying it: sealed instruments with the providers' codes.
CREATE FUNCTION attempts_refused(p_tenant uuid, p_order uuid, p_round int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('payment_id', r.payment_id, 'instrument', encode(r.instrument, 'hex'),
      'code', r.code)), '[]') FROM (
    SELECT a.payment_id, a.instrument,
      CASE WHEN a.attempt < p.attempt THEN a.decline_reason WHEN p.authorized = 0 THEN p.decline_reason END AS code
    FROM payments p JOIN attempts a ON a.tenant_id = p.tenant_id AND a.payment_id = p.payment_id
    WHERE p.tenant_id = p_tenant AND p.order_id = p_order AND p.round <= p_round) r WHERE r.code IS NOT NULL);
END $$;

-- A change of a payment: its facts, with them the end of a capture, refund or increment, and events.
CREATE TYPE settling AS (payment uuid, revision int, doc jsonb, types text[], topics text[], payloads bytea[], meta jsonb);

-- Whether a payment may be marked as paid: no later round has begun. Locked before the look, for a later round of paying
-- locks it as well before it begins.
CREATE FUNCTION payment_markable(p_tenant uuid, p_payment uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM payments WHERE tenant_id = p_tenant AND payment_id = p_payment FOR UPDATE;
  RETURN NOT EXISTS (SELECT FROM payments p JOIN payments l ON l.tenant_id = p.tenant_id AND l.order_id = p.order_id
    WHERE p.tenant_id = p_tenant AND p.payment_id = p_payment AND NOT p.manual AND l.round > p.round AND l.currency IS NOT NULL);
END $$;

-- Ends the capture, refund or increment that a change says has ended.
CREATE FUNCTION entry_settle(p_tenant uuid, p_payment uuid, p_doc jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_doc ? 'capture' THEN
    UPDATE captures SET state = p_doc #>> '{capture,state}', code = p_doc #>> '{capture,code}'
      WHERE tenant_id = p_tenant AND shipment_id = (p_doc #>> '{capture,id}')::uuid AND state = 'PENDING';
  ELSIF p_doc ? 'refund' THEN
    UPDATE refunds SET state = p_doc #>> '{refund,state}', code = p_doc #>> '{refund,code}',
        provider_reference = p_doc #>> '{refund,provider_reference}'
      WHERE tenant_id = p_tenant AND refund_id = (p_doc #>> '{refund,id}')::uuid AND state = 'PENDING';
  ELSIF p_doc ? 'returned' THEN
    UPDATE refunds SET state = p_doc #>> '{returned,state}', code = p_doc #>> '{returned,code}'
      WHERE tenant_id = p_tenant AND refund_id = (p_doc #>> '{returned,id}')::uuid AND state = 'SUCCEEDED';
  ELSE
    UPDATE increments SET state = p_doc #>> '{increment,state}', code = p_doc #>> '{increment,code}'
      WHERE tenant_id = p_tenant AND increment_id = (p_doc #>> '{increment,id}')::uuid AND state = 'PENDING';
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'a capture, refund or increment of payment % ended twice', p_payment;
  END IF;
END $$;

-- Writes changes of payments, at most one of each, with their events, all or nothing; the payments as they are then,
-- without those whose row moved on meanwhile.
CREATE FUNCTION payments_change(p_tenant uuid, p_items settling[]) RETURNS payments[] LANGUAGE plpgsql AS $$
DECLARE
  item settling;
  refused uuid[] := '{}';
  changed payments[];
BEGIN
  PERFORM set_config('app.meta', (SELECT jsonb_build_object('of', jsonb_object_agg(i.payment, i.meta)) FROM unnest(p_items) AS i)::text, true);
  FOREACH item IN ARRAY p_items LOOP
    IF (item.doc->>'manual')::boolean AND NOT payment_markable(p_tenant, item.payment) THEN
      refused := refused || item.payment;
    END IF;
  END LOOP;
  WITH done AS (
    UPDATE payments p SET state = d.state, authorized = d.authorized, captured = d.captured, voided = d.voided,
        refunded = d.refunded, refunded_own = d.refunded_own, closed = d.closed, void_requested = d.void_requested,
        unknown = d.unknown, decline_reason = d.decline_reason, action_url = d.action_url,
        provider_reference = d.provider_reference, avs_result = d.avs_result, cvv_result = d.cvv_result,
        pending = p.pending - e.ended,
        authorized_at = CASE WHEN d.authorized > 0 THEN coalesce(p.authorized_at, now()) END,
        manual = d.manual, stray = d.stray, hold = d.hold, refund_pending = d.refund_pending,
        refund_returned = d.refund_returned, disputes = d.disputes, disputed = d.disputed,
        -- Its end is announced a day before (PAY-02).
        hold_at = CASE WHEN d.authorized > d.captured AND NOT d.closed AND d.hold < 2
          THEN coalesce(p.authorized_at, now()) + interval '1 day' * (6 + d.hold) END,
        check_at = CASE WHEN d.unresolved OR p.pending > e.ended THEN coalesce(p.check_at, now() + interval '30 s') END,
        version = p.version + cardinality(i.types), revision = p.revision + 1
      FROM (SELECT * FROM unnest(p_items) LIMIT cardinality(p_items)) AS i
      CROSS JOIN LATERAL (SELECT (i.doc ?| ARRAY['capture', 'refund', 'increment'])::int AS ended) AS e
      CROSS JOIN LATERAL jsonb_to_record(i.doc) AS d(state text, authorized bigint, captured bigint, voided bigint, refunded bigint,
        refunded_own bigint, closed boolean, void_requested boolean, unknown boolean, decline_reason text, action_url text,
        provider_reference text, avs_result text, cvv_result text, unresolved boolean, manual boolean, hold smallint,
        refund_pending bigint, refund_returned bigint, disputes jsonb, disputed bigint, stray text)
      WHERE p.tenant_id = p_tenant AND p.payment_id = i.payment AND p.revision = i.revision AND NOT i.payment = ANY (refused)
      RETURNING p.*
  ) SELECT coalesce(array_agg(ROW(done.*)::payments), '{}') INTO changed FROM done;
  PERFORM entry_settle(p_tenant, i.payment, i.doc) FROM unnest(changed) AS c JOIN unnest(p_items) AS i ON i.payment = c.payment_id
    WHERE i.doc ?| ARRAY['capture', 'refund', 'returned', 'increment'];
  IF NOT events_append(p_tenant, ARRAY(
      SELECT ROW(i.payment, c.version - cardinality(i.types) + k, i.types[k], i.topics[k], i.payloads[k], i.meta)::happened
      FROM unnest(changed) AS c JOIN unnest(p_items) AS i ON i.payment = c.payment_id
      CROSS JOIN LATERAL generate_series(1, cardinality(i.types)) AS k)) THEN
    RAISE EXCEPTION 'the events of a payment are not at its version';
  END IF;
  RETURN changed;
END $$;

-- The same of changes as JSON, with payloads in base64, in order: what the row alone knows of the payment then, null when
-- it moved on meanwhile. Of two changes of one payment the second comes too late.
CREATE FUNCTION payments_settle(p_tenant uuid, p_items jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  turns bigint[] := ARRAY(SELECT row_number() OVER (PARTITION BY i.value->>'payment' ORDER BY i.ordinality)
    FROM jsonb_array_elements(p_items) WITH ORDINALITY AS i ORDER BY i.ordinality);
  answers jsonb;
BEGIN
  SELECT coalesce(jsonb_object_agg(c.payment_id, jsonb_build_object('revision', c.revision, 'checks', c.checks,
      'pending', c.pending, 'authorized_at', c.authorized_at)), '{}') INTO answers FROM unnest(payments_change(p_tenant, ARRAY(
    SELECT ROW(i.payment, i.revision, i.doc, i.types, i.topics, ARRAY(SELECT decode(p, 'base64') FROM unnest(i.payloads) AS p), i.meta)::settling
    FROM ROWS FROM (jsonb_to_recordset(p_items) AS (payment uuid, revision int, doc jsonb, types text[], topics text[], payloads text[],
      meta jsonb)) WITH ORDINALITY AS i (payment, revision, doc, types, topics, payloads, meta, n) WHERE turns[i.n] = 1))) AS c;
  RETURN (SELECT jsonb_agg(CASE WHEN turns[i.ordinality] = 1 THEN answers -> (i.value->>'payment') END ORDER BY i.ordinality)
    FROM jsonb_array_elements(p_items) WITH ORDINALITY AS i);
END $$;

-- Marks that the order wants no money held for a round. An order or round never seen gets a row that refuses a late authorization.
CREATE FUNCTION payment_void(p_tenant uuid, p_payment uuid, p_order uuid, p_round int, p_provider text, p_type text, p_topic text,
                             p_payload bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true), set_config('app.meta', p_meta::text, true);
  INSERT INTO payments (tenant_id, payment_id, order_id, round, state, provider, void_requested, version)
    VALUES (p_tenant, p_payment, p_order, p_round, 'VOIDED', p_provider, true, 1)
    ON CONFLICT (tenant_id, order_id, round) DO NOTHING RETURNING * INTO v;
  IF FOUND THEN
    PERFORM event_append(p_tenant, p_payment, 0, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
    RETURN to_jsonb(v);
  END IF;
  -- While the provider is being asked nobody knows: only an inquiry may call it voided (S1).
  UPDATE payments p SET void_requested = true, revision = p.revision + 1,
      unknown = p.unknown OR p.state = 'PROCESSING',
      state = CASE WHEN p.state = 'PROCESSING' THEN 'UNKNOWN' ELSE p.state END,
      check_at = coalesce(p.check_at, now() + interval '30 s')
    WHERE tenant_id = p_tenant AND order_id = p_order AND round = p_round AND NOT void_requested RETURNING * INTO v;
  IF NOT FOUND THEN
    SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND order_id = p_order AND round = p_round;
  END IF;
  RETURN to_jsonb(v);
END $$;

-- Takes a shipment's place under the limit. `verdict`: NONE, SEEN, CURRENCY, BEFORE, CLOSED, EXPIRED, BUSY, EXCEEDS or
-- BEGUN.
CREATE FUNCTION capture_begin(p_tenant uuid, p_order uuid, p_shipment uuid, p_amount bigint, p_currency text, p_final boolean,
                              p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  c captures%ROWTYPE;
  taken bigint;
  busy boolean;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true),
    set_config('app.meta', (p_meta || jsonb_build_object('amount', p_amount))::text, true);
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND payment_id = payment_of(p_tenant, p_order) FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'NONE');
  END IF;
  SELECT * INTO c FROM captures WHERE tenant_id = p_tenant AND shipment_id = p_shipment;
  -- What was refused under another hold is asked of the present one.
  IF FOUND AND NOT (c.state = 'FAILED' AND (c.payment_id, c.attempt) <> (v.payment_id, v.attempt)) THEN
    RETURN jsonb_build_object('verdict', 'SEEN', 'payment', to_jsonb(v), 'entry', to_jsonb(c));
  END IF;
  SELECT greatest(coalesce(sum(amount), 0), v.captured), coalesce(bool_or(state = 'PENDING' AND (final OR p_final)), false)
    INTO taken, busy
    FROM captures WHERE tenant_id = p_tenant AND payment_id = v.payment_id AND state <> 'FAILED';
  verdict := CASE
    WHEN v.currency IS DISTINCT FROM p_currency THEN 'CURRENCY'
    -- The money of the whole order was taken before: there is nothing to do for a shipment.
    WHEN (v.immediate OR v.manual) AND v.captured > 0 AND NOT v.void_requested THEN 'BEFORE'
    WHEN v.authorized = 0 OR v.closed OR v.void_requested THEN 'CLOSED'
    WHEN v.hold = 2 OR v.authorized_at < now() - interval '7 days' THEN 'EXPIRED'
    WHEN busy THEN 'BUSY'
    WHEN p_amount > v.authorized - taken THEN 'EXCEEDS'
    ELSE 'BEGUN' END;
  IF verdict = 'BEGUN' THEN
    INSERT INTO captures (tenant_id, shipment_id, payment_id, attempt, amount, final)
      VALUES (p_tenant, p_shipment, v.payment_id, v.attempt, p_amount, p_final)
      ON CONFLICT (tenant_id, shipment_id) DO UPDATE SET payment_id = excluded.payment_id, attempt = excluded.attempt,
        amount = excluded.amount, final = excluded.final, state = 'PENDING', code = NULL
        WHERE captures.state = 'FAILED'
      RETURNING * INTO STRICT c;
    UPDATE payments SET pending = pending + 1, revision = revision + 1, check_at = coalesce(check_at, now() + interval '30 s')
      WHERE tenant_id = p_tenant AND payment_id = v.payment_id RETURNING * INTO v;
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'payment', to_jsonb(v), 'entry', to_jsonb(c),
    'remaining', v.authorized - taken);
END $$;

-- Takes a refund's place under the limit. `verdict`: NONE, SEEN, CURRENCY, CLOSED (the money came outside), EXCEEDS
-- or BEGUN. A NULL amount means all that is left, and there may be nothing (EXCEEDS).
CREATE FUNCTION refund_begin(p_tenant uuid, p_payment uuid, p_refund uuid, p_amount bigint, p_currency text, p_reason text,
                             p_fingerprint bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  r refunds%ROWTYPE;
  remaining bigint;
  wanted bigint;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true), set_config('app.meta', p_meta::text, true);
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
  remaining := v.captured - v.disputed - greatest(v.refunded, v.refunded_own + v.refund_pending);
  wanted := coalesce(p_amount, remaining);
  verdict := CASE
    WHEN p_currency IS NOT NULL AND v.currency IS DISTINCT FROM p_currency THEN 'CURRENCY'
    WHEN v.manual THEN 'CLOSED'
    WHEN wanted <= 0 OR wanted > remaining THEN 'EXCEEDS'
    ELSE 'BEGUN' END;
  IF verdict = 'BEGUN' THEN
    INSERT INTO refunds (tenant_id, refund_id, payment_id, amount, currency, reason, fingerprint)
      VALUES (p_tenant, p_refund, p_payment, wanted, v.currency, p_reason, p_fingerprint) RETURNING * INTO r;
    UPDATE payments SET pending = pending + 1, refund_pending = refund_pending + wanted, revision = revision + 1,
        check_at = coalesce(check_at, now() + interval '30 s')
      WHERE tenant_id = p_tenant AND payment_id = p_payment RETURNING * INTO v;
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'payment', to_jsonb(v), 'entry', to_jsonb(r), 'remaining', remaining);
END $$;

-- Takes an increment's place; one at a time. `verdict`: NONE, SEEN, CURRENCY, CLOSED, BUSY, EXCEEDS or BEGUN.
CREATE FUNCTION increment_begin(p_tenant uuid, p_order uuid, p_increment uuid, p_amount bigint, p_currency text,
                                p_fingerprint bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
  i increments%ROWTYPE;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true), set_config('app.meta',
    (p_meta || jsonb_build_object('action', 'INCREMENT_REQUESTED', 'amount', p_amount))::text, true);
  SELECT * INTO v FROM payments WHERE tenant_id = p_tenant AND payment_id = payment_of(p_tenant, p_order) FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'NONE');
  END IF;
  SELECT * INTO i FROM increments WHERE tenant_id = p_tenant AND increment_id = p_increment;
  IF FOUND THEN
    RETURN jsonb_build_object('verdict', 'SEEN', 'payment', to_jsonb(v), 'entry', to_jsonb(i),
      'same', i.fingerprint = p_fingerprint);
  END IF;
  verdict := CASE
    WHEN v.currency IS DISTINCT FROM p_currency THEN 'CURRENCY'
    WHEN v.authorized = 0 OR v.closed OR v.void_requested OR v.hold = 2 OR v.immediate OR v.manual THEN 'CLOSED'
    WHEN EXISTS (SELECT FROM increments
                 WHERE tenant_id = p_tenant AND payment_id = v.payment_id AND state = 'PENDING') THEN 'BUSY'
    WHEN p_amount > 9223372036854775807 - v.authorized THEN 'EXCEEDS'
    ELSE 'BEGUN' END;
  IF verdict = 'BEGUN' THEN
    INSERT INTO increments (tenant_id, increment_id, payment_id, amount, target, fingerprint)
      VALUES (p_tenant, p_increment, v.payment_id, p_amount, v.authorized + p_amount, p_fingerprint) RETURNING * INTO i;
    UPDATE payments SET pending = pending + 1, revision = revision + 1, ceiling = greatest(ceiling, i.target),
        check_at = coalesce(check_at, now() + interval '30 s')
      WHERE tenant_id = p_tenant AND payment_id = v.payment_id RETURNING * INTO v;
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'payment', to_jsonb(v), 'entry', to_jsonb(i));
END $$;

-- Begins the next attempt of a payment that holds and took nothing, over all that was held before; NULL when the row moved
-- on, or something of the present attempt has not ended.
CREATE FUNCTION payment_reauthorize(p_tenant uuid, p_payment uuid, p_revision int, p_provider text, p_instrument bytea,
                                    p_type text, p_topic text, p_payload bytea, p_meta jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true), set_config('app.meta', p_meta::text, true);
  UPDATE attempts a SET decline_reason = p.decline_reason FROM payments p
    WHERE p.tenant_id = p_tenant AND p.payment_id = p_payment AND p.revision = p_revision AND p.authorized = 0
      AND a.tenant_id = p_tenant AND a.payment_id = p_payment AND a.attempt = p.attempt;
  UPDATE payments p SET state = 'PROCESSING', attempt = p.attempt + 1, provider = p_provider,
      old_references = CASE WHEN p.provider_reference IS NULL THEN p.old_references
                            ELSE p.old_references || p.provider_reference END,
      provider_reference = NULL, authorized = 0, voided = 0, closed = false, hold = 0, hold_at = NULL, unknown = false,
      decline_reason = NULL, action_url = NULL, authorized_at = NULL, checks = 0,
      amount = greatest(p.amount, p.authorized), ceiling = greatest(p.amount, p.authorized),
      check_at = now() + interval '30 s', version = p.version + 1, revision = p.revision + 1
    WHERE tenant_id = p_tenant AND payment_id = p_payment AND revision = p_revision AND captured = 0 AND pending = 0
      AND stray IS NULL AND NOT void_requested AND NOT manual RETURNING * INTO v;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  INSERT INTO attempts (tenant_id, payment_id, attempt, instrument)
    SELECT p_tenant, p_payment, v.attempt, coalesce(p_instrument, a.instrument) FROM attempts a
      WHERE a.tenant_id = p_tenant AND a.payment_id = p_payment ORDER BY a.attempt DESC LIMIT 1;
  PERFORM event_append(p_tenant, p_payment, v.version - 1, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
  RETURN to_jsonb(v);
END $$;

-- Moves a payment that holds nothing to another provider; NULL when the row moved on.
CREATE FUNCTION payment_switch(p_tenant uuid, p_payment uuid, p_revision int, p_provider text, p_stray boolean, p_meta jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v payments%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true), set_config('app.meta', p_meta::text, true);
  UPDATE payments p SET stray = CASE WHEN p_stray THEN p.provider ELSE p.stray END, provider = p_provider, checks = 0,
      check_at = now() + interval '30 s', revision = p.revision + 1
    WHERE tenant_id = p_tenant AND payment_id = p_payment AND revision = p_revision AND authorized = 0
      AND provider_reference IS NULL AND NOT void_requested AND NOT manual RETURNING * INTO v;
  RETURN CASE WHEN FOUND THEN to_jsonb(v) END;
END $$;

-- A payment by the provider's id of it, of the present attempt or an earlier one; NULL when there is none.
CREATE FUNCTION payment_of_reference(p_tenant uuid, p_reference text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT to_jsonb(p) FROM payments p WHERE tenant_id = p_tenant AND provider_reference = p_reference);
END $$;

-- A refund by its id; NULL when there is none.
CREATE FUNCTION refund_get(p_tenant uuid, p_refund uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT to_jsonb(r) FROM refunds r WHERE tenant_id = p_tenant AND refund_id = p_refund);
END $$;

-- The refunds of a payment, oldest first; NULL when there is no such payment.
CREATE FUNCTION refunds_of(p_tenant uuid, p_payment uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF NOT EXISTS (SELECT FROM payments WHERE tenant_id = p_tenant AND payment_id = p_payment) THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.created_at, r.refund_id), '[]') FROM refunds r
          WHERE tenant_id = p_tenant AND payment_id = p_payment);
END $$;

-- The audit of a payment behind a number, oldest first; NULL when there is no such payment.
CREATE FUNCTION payment_history(p_tenant uuid, p_payment uuid, p_after int, p_limit int) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF NOT EXISTS (SELECT FROM payments WHERE tenant_id = p_tenant AND payment_id = p_payment) THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY l.seq), '[]') FROM (
            SELECT * FROM payment_log WHERE tenant_id = p_tenant AND payment_id = p_payment AND seq > p_after
            ORDER BY seq LIMIT p_limit) l);
END $$;

-- The payment with its captures, increments and refunds that have not ended.
CREATE FUNCTION payment_open_entries(p_tenant uuid, p_payment uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN jsonb_build_object(
    'payment', (SELECT to_jsonb(p) FROM payments p WHERE tenant_id = p_tenant AND payment_id = p_payment),
    'captures', (SELECT coalesce(jsonb_agg(to_jsonb(c)), '[]') FROM captures c
                 WHERE tenant_id = p_tenant AND payment_id = p_payment AND state = 'PENDING'),
    'increments', (SELECT coalesce(jsonb_agg(to_jsonb(i)), '[]') FROM increments i
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
     AND cardinality(payments_change(p_tenant, ARRAY[
       ROW(p_payment, p_revision, p_doc, p_types, p_topics, p_payloads, p_meta)::settling])) = 0 THEN
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

-- Some values of a tenant that begin with less than this: an older key sealed them.
CREATE FUNCTION sealed_below(p_tenant uuid, p_below bytea, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('place', r.place, 'sealed', encode(r.sealed, 'hex'))), '[]') FROM (
    SELECT 'attempts.instrument:' || a.payment_id AS place, a.instrument AS sealed FROM attempts a
      WHERE a.tenant_id = p_tenant AND substring(a.instrument FROM 1 FOR 5) < p_below
    UNION ALL
    SELECT 'webhook_events.body:' || w.provider || '/' || w.event_id, w.body FROM webhook_events w
      WHERE w.tenant_id = p_tenant AND substring(w.body FROM 1 FOR 5) < p_below
    LIMIT p_most) r);
END $$;

-- Replaces a sealed value unless somebody did.
CREATE FUNCTION sealed_again(p_tenant uuid, p_place text, p_before bytea, p_after bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  spot  text := split_part(p_place, ':', 1);
  which text := substring(p_place FROM length(spot) + 2);
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF spot = 'attempts.instrument' THEN
    UPDATE attempts SET instrument = p_after
      WHERE tenant_id = p_tenant AND payment_id = which::uuid AND instrument = p_before;
  ELSE
    UPDATE webhook_events SET body = p_after
      WHERE tenant_id = p_tenant AND provider = split_part(which, '/', 1)
        AND event_id = substring(which FROM length(split_part(which, '/', 1)) + 2) AND body = p_before;
  END IF;
  RETURN FOUND;
END $$;

SELECT om_grant();
