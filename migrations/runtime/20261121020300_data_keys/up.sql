-- Keys that columns of this schema are sealed with, per tenant and version, wrapped with a master key that is never in a
-- database (PAY-12).

CREATE TABLE data_keys (
  tenant_id  uuid        NOT NULL,
  version    int         NOT NULL CHECK (version > 0),
  wrapped    bytea       NOT NULL,
  -- Name of the master key.
  master     text        NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, version)
);
SELECT om_protect('data_keys');
SELECT om_worker_reads('data_keys', 'tenant_id, version, master, created_at');

-- The keys of a tenant.
CREATE FUNCTION data_keys_of(p_tenant uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('version', version, 'wrapped', encode(wrapped, 'hex'),
      'master', master) ORDER BY version), '[]') FROM data_keys WHERE tenant_id = p_tenant);
END $$;

-- Adds a key unless the tenant has that version; all keys of it then.
CREATE FUNCTION data_key_add(p_tenant uuid, p_version int, p_wrapped bytea, p_master text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO data_keys (tenant_id, version, wrapped, master) VALUES (p_tenant, p_version, p_wrapped, p_master)
    ON CONFLICT DO NOTHING;
  RETURN data_keys_of(p_tenant);
END $$;

-- Wraps a key anew unless somebody did.
CREATE FUNCTION data_key_rewrap(p_tenant uuid, p_version int, p_before text, p_wrapped bytea, p_master text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE data_keys SET wrapped = p_wrapped, master = p_master
    WHERE tenant_id = p_tenant AND version = p_version AND master = p_before;
  RETURN FOUND;
END $$;

-- Keys of all tenants that are too old, wrapped with another master key, or not the newest of their tenant.
CREATE FUNCTION data_keys_due(p_master text, p_days int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM (
    SELECT k.tenant_id, k.version, n.newest, k.created_at < now() - make_interval(days => p_days) AS old,
        k.master <> p_master AS elsewhere
      FROM data_keys k
      JOIN (SELECT tenant_id, max(version) AS newest FROM data_keys GROUP BY tenant_id) n ON n.tenant_id = k.tenant_id
      WHERE k.master <> p_master OR k.version < n.newest OR k.created_at < now() - make_interval(days => p_days)) d);
END $$;
SELECT om_grant();
