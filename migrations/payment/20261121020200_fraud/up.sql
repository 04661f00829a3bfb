-- Risk of orders: a journal of what was decided, which also is what velocity is counted in, and the queue of people.

-- One entry per order, round of paying it and stage, never changed (FRD-04). Of card, address and IP only digests are kept, and only where
-- they are counted.
CREATE TABLE risk_journal (
  tenant_id   uuid        NOT NULL,
  order_id    uuid        NOT NULL,
  round       int         NOT NULL CHECK (round >= 1),
  stage       smallint    NOT NULL CHECK (stage IN (1, 2)),
  decision    text        NOT NULL CHECK (decision IN ('APPROVE', 'CHALLENGE_3DS', 'REVIEW', 'DECLINE')),
  score       smallint    NOT NULL CHECK (score BETWEEN 0 AND 1000),
  reasons     jsonb       NOT NULL,
  scorer      text        NOT NULL,
  customer    uuid,
  card        bytea,
  ip          bytea,
  address     bytea,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, order_id, round, stage)
);
CREATE INDEX risk_journal_customer ON risk_journal (tenant_id, customer, occurred_at) WHERE customer IS NOT NULL;
CREATE INDEX risk_journal_card ON risk_journal (tenant_id, card, occurred_at) WHERE card IS NOT NULL;
CREATE INDEX risk_journal_ip ON risk_journal (tenant_id, ip, occurred_at) WHERE ip IS NOT NULL;
CREATE INDEX risk_journal_address ON risk_journal (tenant_id, address, occurred_at) WHERE address IS NOT NULL;
SELECT om_protect('risk_journal', 'append');

CREATE TABLE risk_reviews (
  tenant_id   uuid        NOT NULL,
  order_id    uuid        NOT NULL,
  round       int         NOT NULL,
  stage       smallint    NOT NULL,
  state       text        NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'APPROVED', 'REJECTED', 'EXPIRED', 'WITHDRAWN')),
  actor       text,
  reason      text,
  opened_at   timestamptz NOT NULL DEFAULT now(),
  resolved_at timestamptz,
  PRIMARY KEY (tenant_id, order_id, round, stage),
  FOREIGN KEY (tenant_id, order_id, round, stage) REFERENCES risk_journal
);
CREATE INDEX risk_reviews_open ON risk_reviews (tenant_id, opened_at, order_id) WHERE state = 'OPEN';
SELECT om_protect('risk_reviews');

CREATE FUNCTION risk_json(j risk_journal, r risk_reviews) RETURNS jsonb LANGUAGE sql STABLE
RETURN jsonb_build_object('order', j.order_id, 'round', j.round, 'stage', j.stage, 'decision', j.decision, 'score', j.score,
  'reasons', j.reasons, 'scorer', j.scorer, 'at', j.occurred_at, 'review', r.state, 'actor', r.actor,
  'review_reason', r.reason, 'review_at', r.resolved_at);

-- An entry with its review.
CREATE FUNCTION risk_get(p_tenant uuid, p_order uuid, p_round int, p_stage int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT risk_json(j, r) FROM risk_journal j LEFT JOIN risk_reviews r
      ON r.tenant_id = j.tenant_id AND r.order_id = j.order_id AND r.round = j.round AND r.stage = j.stage
    WHERE j.tenant_id = p_tenant AND j.order_id = p_order AND j.round = p_round AND j.stage = p_stage);
END $$;

-- Whether the bank shall ask the customer who he is.
CREATE FUNCTION risk_challenged(p_tenant uuid, p_order uuid, p_round int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN EXISTS (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND order_id = p_order AND round = p_round
    AND decision = 'CHALLENGE_3DS');
END $$;

-- What the bank found of the payment of an order: 16 address check failed, 32 security code failed.
CREATE FUNCTION risk_of_bank(p_tenant uuid, p_order uuid, p_round int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  RETURN coalesce((SELECT (CASE WHEN p.avs_result = 'FAIL' THEN 16 ELSE 0 END) | (CASE WHEN p.cvv_result = 'FAIL' THEN 32 ELSE 0 END)
    FROM payments p WHERE p.tenant_id = p_tenant AND p.order_id = p_order AND p.round = p_round), 0);
END $$;

-- Tells of an order's risk.
CREATE FUNCTION risk_tell(p_tenant uuid, p_order uuid, p_type text, p_topic text, p_payload bytea, p_meta jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  stream uuid := (left(replace(p_order::text, '-', ''), 12) || right(md5('risk of ' || p_order::text), 20))::uuid;
BEGIN
  IF event_append(p_tenant, stream, (SELECT coalesce(max(version), 0) FROM events WHERE tenant_id = p_tenant AND stream_id = stream),
      ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta) IS NULL THEN
    RAISE EXCEPTION 'the risk of order % was told of meanwhile', p_order USING ERRCODE = 'serialization_failure';
  END IF;
END $$;

-- A decision, the facts it was made on, and the event if a person has to look.
CREATE TYPE judged AS (
  order_id uuid, round int, stage smallint, facts int, decision text, score smallint, reasons jsonb, scorer text,
  customer uuid, card text, ip text, address text, type text, topic text, payload text, meta jsonb
);

-- Journals decisions, in order: [{entry}], or [{facts}] where the bank's are others than the decision was made on and
-- nothing was written. An order that was judged before keeps its entry of the round and stage.
CREATE FUNCTION risks_record(p_tenant uuid, p_items jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  items judged[] := ARRAY(SELECT i FROM jsonb_populate_recordset(NULL::judged, p_items) AS i);
  opened judged[];
  item judged;
BEGIN
  WITH fresh AS (
    INSERT INTO risk_journal (tenant_id, order_id, round, stage, decision, score, reasons, scorer, customer, card, ip, address)
      SELECT p_tenant, i.order_id, i.round, i.stage, i.decision, i.score, i.reasons, i.scorer, i.customer,
        decode(i.card, 'base64'), decode(i.ip, 'base64'), decode(i.address, 'base64')
      FROM unnest(items) AS i WHERE i.stage = 1 OR i.facts = risk_of_bank(p_tenant, i.order_id, i.round)
      -- Sorted, for two processes may judge the same orders.
      ORDER BY i.order_id, i.round, i.stage
      ON CONFLICT DO NOTHING RETURNING order_id, round, stage, decision, score
  ) SELECT array_agg(i ORDER BY i.order_id, i.round, i.stage) INTO opened FROM fresh f JOIN unnest(items) AS i
      ON i.order_id = f.order_id AND i.round = f.round AND i.stage = f.stage AND i.decision = f.decision AND i.score = f.score
    WHERE f.decision = 'REVIEW';
  FOREACH item IN ARRAY coalesce(opened, '{}') LOOP
    INSERT INTO risk_reviews (tenant_id, order_id, round, stage) VALUES (p_tenant, item.order_id, item.round, item.stage)
      ON CONFLICT DO NOTHING;
    IF FOUND THEN
      PERFORM risk_tell(p_tenant, item.order_id, item.type, item.topic, decode(item.payload, 'base64'), item.meta);
    END IF;
  END LOOP;
  RETURN (SELECT jsonb_agg(CASE WHEN e.entry IS NOT NULL THEN jsonb_build_object('entry', e.entry)
      ELSE jsonb_build_object('facts', risk_of_bank(p_tenant, i.order_id, i.round)) END ORDER BY i.ordinality)
    FROM unnest(items) WITH ORDINALITY AS i LEFT JOIN LATERAL (
      SELECT risk_json(j, r.o) AS entry FROM risk_journal j LEFT JOIN LATERAL (SELECT o FROM risk_reviews o
          WHERE o.tenant_id = p_tenant AND o.order_id = i.order_id AND o.round = i.round AND o.stage = i.stage LIMIT 1) r ON true
        WHERE j.tenant_id = p_tenant AND j.order_id = i.order_id AND j.round = i.round AND j.stage = i.stage LIMIT 1) e ON true);
END $$;

-- Journals one decision about an order whose kind is counted, as risks_record does; {facts}, and nothing is written, too
-- when customer (1), card (2), IP (4) or address (8) came too often, or not, against what the decision assumed.
CREATE FUNCTION risk_record(p_tenant uuid, p_item jsonb, p_limit int, p_window_s int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  i judged := jsonb_populate_record(NULL::judged, p_item);
  since timestamptz := now() - p_window_s * interval '1 s';
  facts int;
BEGIN
  IF risk_get(p_tenant, i.order_id, i.round, i.stage) IS NULL THEN
    -- Two orders of one card at the same moment must see each other.
    PERFORM pg_advisory_xact_lock(hashtextextended('risk ' || p_tenant::text, 0));
    -- This order comes on top: too often is as many as are allowed already.
    facts := (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND customer = i.customer
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 1 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND card = decode(i.card, 'base64')
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 2 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND ip = decode(i.ip, 'base64')
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 4 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND address = decode(i.address, 'base64')
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 8 ELSE 0 END);
    IF facts <> i.facts THEN
      RETURN jsonb_build_object('facts', facts);
    END IF;
  END IF;
  RETURN risks_record(p_tenant, jsonb_build_array(p_item))->0;
END $$;

-- Ends the review of an order. `verdict`: NONE, DONE, SAME (it ended so before) or OTHER.
CREATE FUNCTION risk_resolve(p_tenant uuid, p_order uuid, p_state text, p_actor text, p_reason text, p_type text, p_topic text,
    p_payload bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  r risk_reviews%ROWTYPE;
  verdict text;
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  SELECT * INTO r FROM risk_reviews WHERE tenant_id = p_tenant AND order_id = p_order
    ORDER BY round DESC, stage DESC LIMIT 1 FOR UPDATE;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'NONE');
  END IF;
  verdict := CASE WHEN r.state = 'OPEN' THEN 'DONE' WHEN r.state = p_state THEN 'SAME' ELSE 'OTHER' END;
  IF verdict = 'DONE' THEN
    UPDATE risk_reviews SET state = p_state, actor = p_actor, reason = p_reason, resolved_at = now()
      WHERE tenant_id = p_tenant AND order_id = p_order AND round = r.round AND stage = r.stage;
    PERFORM risk_tell(p_tenant, p_order, p_type, p_topic, p_payload, p_meta);
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'entry', risk_get(p_tenant, p_order, r.round, r.stage));
END $$;

SELECT om_grant();
