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

-- An entry with its review.
CREATE FUNCTION risk_get(p_tenant uuid, p_order uuid, p_round int, p_stage int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT jsonb_build_object('order', j.order_id, 'round', j.round, 'stage', j.stage, 'decision', j.decision, 'score', j.score,
      'reasons', j.reasons, 'scorer', j.scorer, 'at', j.occurred_at, 'review', r.state, 'actor', r.actor,
      'review_reason', r.reason, 'review_at', r.resolved_at)
    FROM risk_journal j LEFT JOIN risk_reviews r
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

-- Journals a decision that was made on facts that the caller expects; when the facts are others, nothing is written and
-- they are returned, so that the common case is one call. An order that was judged before keeps its entry of the round.
-- Facts: 1 customer, 2 card, 4 IP, 8 address came too often; 16 address check failed, 32 security code failed.
CREATE FUNCTION risk_record(p_tenant uuid, p_order uuid, p_round int, p_stage int, p_facts int, p_limit int, p_window_s int, p_customer uuid,
    p_card bytea, p_ip bytea, p_address bytea, p_verdict jsonb,
    p_type text, p_topic text, p_payload bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  known jsonb := risk_get(p_tenant, p_order, p_round, p_stage);
  since timestamptz := now() - p_window_s * interval '1 s';
  facts int := 0;
  stream uuid := (left(replace(p_order::text, '-', ''), 12) || right(md5('risk of ' || p_order::text), 20))::uuid;
  at_version int;
BEGIN
  IF known IS NOT NULL THEN
    RETURN jsonb_build_object('entry', known);
  END IF;
  IF p_limit > 0 THEN
    -- Two orders of one card at the same moment must see each other.
    PERFORM pg_advisory_xact_lock(hashtextextended('risk ' || p_tenant::text, 0));
    -- This order comes on top: too often is as many as are allowed already.
    facts := (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND customer = p_customer
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 1 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND card = p_card
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 2 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND ip = p_ip
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 4 ELSE 0 END)
      | (CASE WHEN (SELECT count(*) FROM (SELECT FROM risk_journal WHERE tenant_id = p_tenant AND address = p_address
                 AND occurred_at > since LIMIT p_limit) c) >= p_limit THEN 8 ELSE 0 END);
  END IF;
  IF p_stage = 2 THEN
    SELECT (CASE WHEN p.avs_result = 'FAIL' THEN 16 ELSE 0 END) | (CASE WHEN p.cvv_result = 'FAIL' THEN 32 ELSE 0 END)
      INTO facts FROM payments p WHERE p.tenant_id = p_tenant AND p.order_id = p_order AND p.round = p_round;
    facts := coalesce(facts, 0);
  END IF;
  IF facts <> p_facts THEN
    RETURN jsonb_build_object('facts', facts);
  END IF;
  INSERT INTO risk_journal (tenant_id, order_id, round, stage, decision, score, reasons, scorer, customer, card, ip, address)
    VALUES (p_tenant, p_order, p_round, p_stage, p_verdict->>'decision', (p_verdict->>'score')::smallint, p_verdict->'reasons',
      p_verdict->>'scorer', p_customer, p_card, p_ip, p_address);
  IF p_verdict->>'decision' = 'REVIEW' THEN
    INSERT INTO risk_reviews (tenant_id, order_id, round, stage) VALUES (p_tenant, p_order, p_round, p_stage);
    SELECT coalesce(max(version), 0) INTO at_version FROM events WHERE tenant_id = p_tenant AND stream_id = stream;
    PERFORM event_append(p_tenant, stream, at_version, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
  END IF;
  RETURN jsonb_build_object('entry', risk_get(p_tenant, p_order, p_round, p_stage));
END $$;

-- Ends the review of an order. `verdict`: NONE, DONE, SAME (it ended so before) or OTHER.
CREATE FUNCTION risk_resolve(p_tenant uuid, p_order uuid, p_state text, p_actor text, p_reason text, p_type text, p_topic text,
    p_payload bytea, p_meta jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  r risk_reviews%ROWTYPE;
  verdict text;
  stream uuid := (left(replace(p_order::text, '-', ''), 12) || right(md5('risk of ' || p_order::text), 20))::uuid;
  at_version int;
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
    SELECT coalesce(max(version), 0) INTO at_version FROM events WHERE tenant_id = p_tenant AND stream_id = stream;
    PERFORM event_append(p_tenant, stream, at_version, ARRAY[p_type], ARRAY[p_topic], ARRAY[p_payload], p_meta);
  END IF;
  RETURN jsonb_build_object('verdict', verdict, 'entry', risk_get(p_tenant, p_order, r.round, r.stage));
END $$;

SELECT om_grant();
