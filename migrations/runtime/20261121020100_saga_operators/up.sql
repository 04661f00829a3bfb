-- Sagas for people: what an operator decides about one, and which of them do not get on by themselves (SAG-06).

CREATE INDEX sagas_attention ON sagas (tenant_id, saga_id) WHERE status = 'attention';

-- Says something about a saga in a stream of its own, while its row is locked.
CREATE FUNCTION saga_say(p_tenant uuid, p_saga uuid, p_types text[], p_topics text[], p_payloads bytea[], p_meta jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  -- Of the same time as the saga, for streams are kept by it.
  stream uuid := (left(replace(p_saga::text, '-', ''), 12) || right(md5('news of ' || p_saga::text), 20))::uuid;
  at_version int;
BEGIN
  SELECT coalesce(max(e.version), 0) INTO at_version FROM events e WHERE e.tenant_id = p_tenant AND e.stream_id = stream;
  IF event_append(p_tenant, stream, at_version, p_types, p_topics, p_payloads, p_meta) IS NULL THEN
    RAISE EXCEPTION 'two say something about saga % at once', p_saga;
  END IF;
END $$;

-- Writes an operator's decision with its reason and says so in an event; false when the saga has moved on from what he saw. A worker that is at
-- it writes nothing any more and looks again.
CREATE FUNCTION saga_operate(p_tenant uuid, p_saga uuid, p_seq int, p_step int, p_phase text, p_status text,
    p_undo_reason text, p_log_step text, p_log_phase text, p_outcome text, p_reason text, p_actor text,
    p_types text[], p_topics text[], p_payloads bytea[], p_meta jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE sagas SET seq = p_seq + 1, step = p_step, phase = p_phase, status = p_status, attempts = 0, signals = signals + 1,
      undo_reason = coalesce(p_undo_reason, undo_reason), wake_at = now(), alerted_at = NULL
    WHERE tenant_id = p_tenant AND saga_id = p_saga AND seq = p_seq;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO saga_log (tenant_id, saga_id, seq, step, phase, outcome, detail, actor)
    VALUES (p_tenant, p_saga, p_seq + 1, p_log_step, p_log_phase, p_outcome, p_reason, p_actor);
  PERFORM saga_say(p_tenant, p_saga, p_types, p_topics, p_payloads, p_meta);
  RETURN true;
END $$;

-- Sagas that need a person, or that nobody has looked at for too long after they were due:
-- {"counts": {kind: n}, "fresh": [[tenant, saga, kind, rev, step, status], ...]}, fresh = nobody was told yet.
CREATE FUNCTION saga_stuck(p_overdue_s int, p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    WITH stuck AS (
      SELECT s.tenant_id, s.saga_id, s.kind, s.def_rev, s.step, s.status, s.alerted_at FROM sagas s
        WHERE s.status = 'attention'
      UNION ALL
      SELECT o.tenant_id, o.saga_id, o.kind, o.def_rev, o.step, o.status, o.alerted_at FROM shard_leases l
        CROSS JOIN LATERAL (SELECT s.tenant_id, s.saga_id, s.kind, s.def_rev, s.step, s.status, s.alerted_at
          FROM sagas s WHERE s.shard = l.shard AND s.status IN ('running', 'waiting')
          AND s.wake_at < now() - p_overdue_s * interval '1 s' ORDER BY s.wake_at LIMIT p_limit) o)
    SELECT jsonb_build_object(
      'counts', (SELECT coalesce(jsonb_object_agg(k.kind, k.n), '{}')
                 FROM (SELECT kind, count(*) AS n FROM stuck GROUP BY kind) k),
      'fresh', (SELECT coalesce(jsonb_agg(jsonb_build_array(f.tenant_id, f.saga_id, f.kind, f.def_rev, f.step, f.status)), '[]')
                FROM (SELECT * FROM stuck WHERE alerted_at IS NULL LIMIT p_limit) f)));
END $$;

-- Marks that people were told of a stuck saga and says so in an event; false when it was said
-- before, or the saga has got on meanwhile.
CREATE FUNCTION saga_alert(p_tenant uuid, p_saga uuid, p_status text, p_types text[], p_topics text[], p_payloads bytea[],
    p_meta jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE sagas SET alerted_at = now()
    WHERE tenant_id = p_tenant AND saga_id = p_saga AND status = p_status AND alerted_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM saga_say(p_tenant, p_saga, p_types, p_topics, p_payloads, p_meta);
  RETURN true;
END $$;

-- Renews a worker's shards and takes free ones, up to its fair share; how many it has. What it has above its share runs
-- out while it takes no new sagas from it, so that the steps under way can end. Who has too little bids, which is how
-- the others know that he is there (SAG-07).
CREATE FUNCTION saga_lease(p_owner uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  workers int;
  shards int;
  fair int;
  mine int;
BEGIN
  PERFORM FROM shard_leases ORDER BY shard FOR UPDATE;
  SELECT count(DISTINCT w.id) INTO workers FROM (
    SELECT owner AS id FROM shard_leases WHERE lease_until > now()
    UNION ALL SELECT bidder FROM shard_leases WHERE bid_until > now()
    UNION ALL SELECT p_owner) w;
  SELECT count(*) INTO shards FROM shard_leases;
  fair := (shards + workers - 1) / workers;
  UPDATE shard_leases l SET yields = k.n > fair,
      lease_until = CASE WHEN k.n > fair THEN l.lease_until ELSE now() + interval '5 s' END
    FROM (SELECT shard, row_number() OVER (ORDER BY yields, shard) AS n FROM shard_leases
          WHERE owner = p_owner AND lease_until > now()) k
    WHERE k.shard = l.shard;
  SELECT count(*) INTO mine FROM shard_leases WHERE owner = p_owner AND lease_until > now() AND NOT yields;
  UPDATE shard_leases l SET owner = p_owner, lease_until = now() + interval '5 s', yields = false,
      fence = l.fence + CASE WHEN l.owner = p_owner THEN 0 ELSE 1 END
    FROM (SELECT shard FROM shard_leases WHERE lease_until <= now() ORDER BY shard LIMIT greatest(fair - mine, 0)) f
    WHERE f.shard = l.shard;
  SELECT count(*) INTO mine FROM shard_leases WHERE owner = p_owner AND lease_until > now() AND NOT yields;
  IF mine < shards / workers THEN
    UPDATE shard_leases SET bidder = p_owner, bid_until = now() + interval '5 s'
      WHERE shard = abs(hashtext(p_owner::text)::bigint % shards);
  END IF;
  RETURN mine;
END $$;

SELECT om_grant();
