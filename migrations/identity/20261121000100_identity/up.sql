-- Tenants, users, policies and signing keys.

-- Above tenants: login finds its tenant here before it is in one, so there is no row level security to pass. Only
-- identity's own role has grants, and it holds no secret.
CREATE TABLE tenants (
  tenant_id    uuid        PRIMARY KEY,
  slug         text        NOT NULL CONSTRAINT tenants_slug UNIQUE,
  display_name text        NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now()
);

-- Above tenants: one issuer signs for all of them. The highest generation signs; a former key verifies until its tokens
-- have run out.
CREATE TABLE signing_keys (
  generation   int         PRIMARY KEY CHECK (generation > 0),
  kid          text        NOT NULL UNIQUE,
  -- Sealed with the key of the tenant that is none: nil (PAY-12).
  pkcs8        bytea       NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  verify_until timestamptz
);

DO $$
BEGIN
  EXECUTE format('GRANT SELECT, INSERT ON tenants TO %I', current_schema());
  EXECUTE format('GRANT SELECT, INSERT, UPDATE (verify_until, pkcs8) ON signing_keys TO %I', current_schema());
END $$;

CREATE TABLE users (
  tenant_id     uuid        NOT NULL,
  user_id       uuid        NOT NULL,
  -- Who somebody is, sealed with the tenant's key (PAY-12); the day of birth when it is known.
  email         bytea       NOT NULL,
  display_name  bytea       NOT NULL,
  birth_date    bytea,
  -- Keyed digest of the e-mail in lower case, by which a login finds it.
  email_digest  bytea       NOT NULL,
  roles         text[]      NOT NULL,
  password_hash text        NOT NULL,
  blocked        boolean    NOT NULL DEFAULT false,
  email_verified boolean    NOT NULL DEFAULT false,
  -- Events of the user so far.
  version       int         NOT NULL DEFAULT 1,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id),
  CONSTRAINT users_email UNIQUE (tenant_id, email_digest)
);
SELECT om_protect('users');

-- A tenant without a row has the defaults, which are version 0.
CREATE TABLE policies (
  tenant_id  uuid        PRIMARY KEY,
  version    int         NOT NULL CHECK (version > 0),
  policy     bytea       NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
SELECT om_protect('policies');

-- Some values of a tenant that begin with less than this: an older key sealed them. Signing keys are of no tenant.
CREATE FUNCTION sealed_below(p_tenant uuid, p_below bytea, p_most int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('place', r.place, 'sealed', encode(r.sealed, 'hex'))), '[]') FROM (
    SELECT 'users.' || v.name || ':' || u.user_id AS place, v.sealed FROM users u
      CROSS JOIN LATERAL (VALUES ('email', u.email), ('display_name', u.display_name), ('birth_date', u.birth_date)) AS v (name, sealed)
      WHERE u.tenant_id = p_tenant AND substring(v.sealed FROM 1 FOR 5) < p_below
    UNION ALL
    SELECT 'signing_keys.pkcs8:' || k.generation, k.pkcs8 FROM signing_keys k
      WHERE p_tenant = '00000000-0000-0000-0000-000000000000' AND substring(k.pkcs8 FROM 1 FOR 5) < p_below
    LIMIT p_most) r);
END $$;

-- Replaces a sealed value unless somebody did.
CREATE FUNCTION sealed_again(p_tenant uuid, p_place text, p_before bytea, p_after bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  spot  text := split_part(p_place, ':', 1);
  which text := split_part(p_place, ':', 2);
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  CASE spot
    WHEN 'users.email' THEN
      UPDATE users SET email = p_after WHERE tenant_id = p_tenant AND user_id = which::uuid AND email = p_before;
    WHEN 'users.display_name' THEN
      UPDATE users SET display_name = p_after WHERE tenant_id = p_tenant AND user_id = which::uuid AND display_name = p_before;
    WHEN 'users.birth_date' THEN
      UPDATE users SET birth_date = p_after WHERE tenant_id = p_tenant AND user_id = which::uuid AND birth_date = p_before;
    WHEN 'signing_keys.pkcs8' THEN
      UPDATE signing_keys SET pkcs8 = p_after WHERE generation = which::int AND pkcs8 = p_before;
  END CASE;
  RETURN FOUND;
END $$;

SELECT om_grant();
