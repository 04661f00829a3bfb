-- What keeps copies of orders fresh, for the worker's role: what changed, what is looked at most, and how far behind the
-- projection is.

-- Orders with events of transactions from p_from on, and where the next look begins: at the oldest transaction that was
-- open, so that a late commit is never missed. {"next": "<xid>", "changed": [[tenant, order, version, customer], ...]}
CREATE FUNCTION order_changes(p_from text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN jsonb_build_object('next', pg_snapshot_xmin(pg_current_snapshot())::text, 'changed',
    CASE WHEN p_from = '' THEN '[]' ELSE (
      SELECT coalesce(jsonb_agg(jsonb_build_array(c.tenant_id, c.stream_id, c.version, o.customer_id)), '[]')
      FROM (SELECT e.tenant_id, e.stream_id, max(e.version) AS version FROM events e WHERE e.xid >= p_from::xid8 GROUP BY 1, 2) c
      JOIN orders o ON o.tenant_id = c.tenant_id AND o.order_id = c.stream_id) END);
END $$;

-- The orders that changed last, [[tenant, order], ...].
CREATE FUNCTION order_newest(p_limit int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(n.tenant_id, n.stream_id)), '[]') FROM (
    SELECT e.tenant_id, e.stream_id FROM (SELECT * FROM events ORDER BY xid DESC, gpos DESC LIMIT p_limit * 8) e
    GROUP BY 1, 2 ORDER BY max(e.xid::text::bigint) DESC LIMIT p_limit) n);
END $$;

-- Seconds that the projection is behind the newest events; 0 as long as both are one commit (ORD-39).
CREATE FUNCTION order_lag() RETURNS double precision LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - e.occurred_at)), 0)
    FROM (SELECT * FROM events ORDER BY xid DESC, gpos DESC LIMIT 200) e
    JOIN orders o ON o.tenant_id = e.tenant_id AND o.order_id = e.stream_id WHERE o.version < e.version);
END $$;
SELECT om_grant();
