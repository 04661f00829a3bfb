-- When the warehouse system is asked again what lies in a tenant's warehouses (INV-11).

CREATE TABLE wms_counts (
  tenant_id uuid        NOT NULL,
  next_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);
SELECT om_protect('wms_counts');
SELECT om_worker_reads('wms_counts', 'tenant_id, next_at');

-- Tenants with work at the warehouse system whose turn it is; for the worker role.
CREATE FUNCTION wms_counts_due(p_limit int) RETURNS uuid[] LANGUAGE sql AS $$
  SELECT coalesce(array_agg(d.tenant_id), '{}') FROM (
    SELECT l.tenant_id FROM wms_leases l LEFT JOIN wms_counts c ON c.tenant_id = l.tenant_id
    WHERE c.next_at IS NULL OR c.next_at <= clock_timestamp()
    ORDER BY c.next_at NULLS FIRST LIMIT p_limit) AS d;
$$;

-- Takes a tenant's turn and sets the next one; false when it is not its turn.
CREATE FUNCTION wms_counts_take(p_tenant uuid, p_pause_ms int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO wms_counts AS c (tenant_id, next_at) VALUES (p_tenant, clock_timestamp() + p_pause_ms * interval '1 ms')
    ON CONFLICT (tenant_id) DO UPDATE SET next_at = excluded.next_at WHERE c.next_at <= clock_timestamp();
  RETURN FOUND;
END $$;

-- Sets the next turn.
CREATE FUNCTION wms_counts_again(p_tenant uuid, p_pause_ms int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE wms_counts SET next_at = clock_timestamp() + p_pause_ms * interval '1 ms' WHERE tenant_id = p_tenant;
  RETURN FOUND;
END $$;

SELECT om_grant();
