WITH scan AS (
  SELECT m.shard, m.fence, l.xid, l.gpos, l.tenant_id, l.stream_id, l.version, l.event_id, l.type, l.payload, l.meta,
         row_number() OVER (PARTITION BY m.shard ORDER BY l.xid DESC, l.gpos DESC) AS from_end
  FROM om_bus.cursors m
  CROSS JOIN LATERAL (
    SELECT * FROM om_bus.log l
    WHERE l.shard = m.shard AND (l.xid, l.gpos) > (m.xid, m.gpos)
      AND l.xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY l.xid, l.gpos LIMIT $4
  ) l
  WHERE m.consumer = $1 AND m.owner = $2 AND m.lease_until > now()
)
SELECT shard, xid::text AS xid, gpos, fence, tenant_id, stream_id, version, event_id, type,
       CASE WHEN type = ANY ($3) THEN payload ELSE ''::bytea END AS payload, meta
FROM scan
WHERE type = ANY ($3) OR from_end = 1
ORDER BY shard, scan.xid, gpos
