-- What customers are told once, and what became of each try. No address and no text is kept (PAY-12).

CREATE TABLE messages (
  tenant_id   uuid        NOT NULL,
  message_id  uuid        NOT NULL,
  -- 1 order confirmation, 2 shipment tracking, 3 delivery, 4 cancellation, 5 refund
  kind        smallint    NOT NULL CHECK (kind BETWEEN 1 AND 5),
  -- 1 e-mail
  channel     smallint    NOT NULL CHECK (channel = 1),
  -- What is told of once: the order, the parcel, or the event of the refund.
  cause_id    uuid        NOT NULL,
  order_id    uuid        NOT NULL,
  customer_id uuid        NOT NULL,
  -- What the event said and the order does not say by itself.
  facts       jsonb       NOT NULL,
  -- What continues the chain of causes.
  trace       jsonb       NOT NULL,
  -- 1 pending, 2 sent, 3 failed
  state       smallint    NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
  -- Tries of all times; who tries holds the number and writes nothing when there is a later one.
  attempts    int         NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  -- Tries since it was last put in line.
  tries       int         NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND attempts),
  -- When it is tried; while somebody tries, when he is given up.
  due_at      timestamptz NOT NULL,
  -- Version of its stream of events.
  version     int         NOT NULL DEFAULT 0,
  created_at  timestamptz NOT NULL,
  sent_at     timestamptz,
  PRIMARY KEY (tenant_id, message_id),
  CONSTRAINT one_per_cause UNIQUE (tenant_id, cause_id, kind, channel),
  CONSTRAINT sent_has_time CHECK ((state = 2) = (sent_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX messages_by_order ON messages (tenant_id, order_id, message_id);
CREATE INDEX messages_by_customer ON messages (tenant_id, customer_id, message_id);
CREATE INDEX messages_failed ON messages (tenant_id, message_id) WHERE state = 3;
CREATE INDEX messages_waiting ON messages (tenant_id, due_at) WHERE state = 1;
SELECT om_protect('messages');
SELECT om_worker_reads('messages', 'tenant_id, message_id, state, due_at');

CREATE TABLE attempts (
  tenant_id   uuid        NOT NULL,
  message_id  uuid        NOT NULL,
  attempt     int         NOT NULL,
  outcome     text        NOT NULL,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, message_id, attempt)
);
SELECT om_protect('attempts', 'append');

CREATE FUNCTION message_json(m messages) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('id', m.message_id, 'kind', m.kind, 'order', m.order_id, 'customer', m.customer_id,
    'facts', m.facts, 'trace', m.trace, 'state', m.state, 'attempts', m.attempts, 'tries', m.tries, 'due_at', m.due_at,
    'created_at', m.created_at, 'sent_at', m.sent_at);
$$;

-- Inside the transaction of the events that ask for them; the kinds of those that are new, for of some the customer is
-- told already.
CREATE FUNCTION messages_create(p_tenant uuid, p_items jsonb) RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
  kinds smallint[];
BEGIN
  WITH new AS (
    INSERT INTO messages (tenant_id, message_id, kind, channel, cause_id, order_id, customer_id, facts, trace, due_at, created_at)
      SELECT p_tenant, i.message_id, i.kind, 1, i.cause_id, i.order_id, i.customer_id, i.facts, i.trace, now(), i.created_at
      FROM jsonb_populate_recordset(NULL::messages, p_items) AS i
      ON CONFLICT ON CONSTRAINT one_per_cause DO NOTHING RETURNING kind
  ) SELECT coalesce(array_agg(kind), '{}') INTO kinds FROM new;
  RETURN kinds;
END $$;

-- Messages that are due, of every tenant its longest waiting one before anybody's second: a tenant with many delays no
-- other. For the worker role: [[tenant, message], ...].
CREATE FUNCTION messages_due(p_limit int) RETURNS jsonb LANGUAGE plpgsql SET plan_cache_mode = auto AS $$
BEGIN
  RETURN (
    -- From tenant to tenant along the index, however many messages lie between.
    WITH RECURSIVE heads AS (
      (SELECT m.tenant_id, m.due_at FROM messages m WHERE m.state = 1 ORDER BY m.tenant_id, m.due_at LIMIT 1)
      UNION ALL
      SELECT n.tenant_id, n.due_at FROM heads h CROSS JOIN LATERAL (
        SELECT m.tenant_id, m.due_at FROM messages m WHERE m.state = 1 AND m.tenant_id > h.tenant_id
        ORDER BY m.tenant_id, m.due_at LIMIT 1) n
    ), due AS (
      SELECT h.tenant_id FROM heads h WHERE h.due_at <= now() ORDER BY h.due_at LIMIT p_limit
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array(d.tenant_id, d.message_id)), '[]') FROM (
      SELECT due.tenant_id, m.message_id FROM due CROSS JOIN LATERAL (
        SELECT w.message_id, w.due_at, row_number() OVER (ORDER BY w.due_at) AS turn FROM messages w
        WHERE w.tenant_id = due.tenant_id AND w.state = 1 AND w.due_at <= now() ORDER BY w.due_at LIMIT p_limit) m
      ORDER BY m.turn, m.due_at LIMIT p_limit) d);
END $$;

-- Takes those of one tenant's messages that are still due and that nobody else takes at this moment; whoever took one
-- has it for the lease.
CREATE FUNCTION messages_claim(p_tenant uuid, p_ids uuid[], p_lease_ms bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  taken jsonb;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  WITH mine AS (
    SELECT message_id FROM messages
    -- Hidden in an expression: the index of due messages must look useless here, it is full of dead entries.
    WHERE tenant_id = p_tenant AND message_id = ANY (p_ids) AND state + 0 = 1 AND due_at <= now()
    FOR UPDATE SKIP LOCKED
  ), claimed AS (
    UPDATE messages m SET attempts = m.attempts + 1, tries = m.tries + 1, due_at = now() + p_lease_ms * interval '1 ms'
      FROM mine WHERE m.tenant_id = p_tenant AND m.message_id = mine.message_id RETURNING m
  )
  SELECT coalesce(jsonb_agg(message_json(c.m)), '[]') INTO taken FROM claimed c;
  RETURN taken;
END $$;

-- What became of a try, with the event that tells of it, if one does. False when there was a later try: then nothing is
-- written, unless the mail is out, which is true whoever says it.
CREATE FUNCTION message_settle(p_tenant uuid, p_id uuid, p_attempt int, p_outcome text, p_state smallint, p_delay_ms bigint,
                               p_types text[], p_topics text[], p_payloads bytea[], p_meta jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  before int;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE messages SET state = p_state, due_at = now() + p_delay_ms * interval '1 ms',
      sent_at = CASE WHEN p_state = 2 THEN now() END, version = version + cardinality(p_types)
    WHERE tenant_id = p_tenant AND message_id = p_id AND state + 0 = 1 AND (attempts = p_attempt OR p_state = 2)
    RETURNING version - cardinality(p_types) INTO before;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO attempts (tenant_id, message_id, attempt, outcome) VALUES (p_tenant, p_id, p_attempt, p_outcome);
  IF event_append(p_tenant, p_id, before, p_types, p_topics, p_payloads, p_meta) IS NULL THEN
    RAISE EXCEPTION 'message and events of % disagree', p_id;
  END IF;
  RETURN true;
END $$;

-- A message with its tries; NULL: no such message.
CREATE FUNCTION message_get(p_tenant uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known messages%ROWTYPE;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO known FROM messages WHERE tenant_id = p_tenant AND message_id = p_id;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  RETURN message_json(known) || jsonb_build_object('log', (
    SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'outcome', a.outcome, 'at', a.occurred_at)
      ORDER BY a.attempt), '[]') FROM attempts a WHERE a.tenant_id = p_tenant AND a.message_id = p_id));
END $$;

-- A page, newest first: ids are UUIDv7, so their order is the order of creation. Each filter has its index, so each has
-- its statement.
CREATE FUNCTION message_list(p_tenant uuid, p_order uuid, p_customer uuid, p_state smallint, p_before uuid, p_limit int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  page messages[];
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  IF p_order IS NOT NULL THEN
    page := ARRAY(SELECT m FROM messages m WHERE m.tenant_id = p_tenant AND m.order_id = p_order
        AND (p_customer IS NULL OR m.customer_id = p_customer) AND (p_state IS NULL OR m.state + 0 = p_state)
        AND (p_before IS NULL OR m.message_id < p_before) ORDER BY m.message_id DESC LIMIT p_limit);
  ELSIF p_customer IS NOT NULL THEN
    page := ARRAY(SELECT m FROM messages m WHERE m.tenant_id = p_tenant AND m.customer_id = p_customer
        AND (p_state IS NULL OR m.state + 0 = p_state)
        AND (p_before IS NULL OR m.message_id < p_before) ORDER BY m.message_id DESC LIMIT p_limit);
  ELSIF p_state = 3 THEN
    page := ARRAY(SELECT m FROM messages m WHERE m.tenant_id = p_tenant AND m.state = 3
        AND (p_before IS NULL OR m.message_id < p_before) ORDER BY m.message_id DESC LIMIT p_limit);
  ELSE
    page := ARRAY(SELECT m FROM messages m WHERE m.tenant_id = p_tenant AND (p_state IS NULL OR m.state + 0 = p_state)
        AND (p_before IS NULL OR m.message_id < p_before) ORDER BY m.message_id DESC LIMIT p_limit);
  END IF;
  RETURN (SELECT coalesce(jsonb_agg(message_json(m) ORDER BY m.message_id DESC), '[]') FROM unnest(page) AS m);
END $$;

-- Puts a failed message back in line; any other stays as it is.
CREATE FUNCTION message_retry(p_tenant uuid, p_id uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE messages SET state = 1, tries = 0, due_at = now()
    WHERE tenant_id = p_tenant AND message_id = p_id AND state + 0 = 3;
  RETURN FOUND;
END $$;
SELECT om_grant();
