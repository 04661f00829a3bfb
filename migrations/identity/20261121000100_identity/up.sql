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
  pkcs8        bytea       NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  verify_until timestamptz
);

DO $$
BEGIN
  EXECUTE format('GRANT SELECT, INSERT ON tenants TO %I', current_schema());
  EXECUTE format('GRANT SELECT, INSERT, UPDATE (verify_until) ON signing_keys TO %I', current_schema());
END $$;

CREATE TABLE users (
  tenant_id     uuid        NOT NULL,
  user_id       uuid        NOT NULL,
  email         text        NOT NULL, -- lower case
  display_name  text        NOT NULL,
  roles         text[]      NOT NULL,
  password_hash text        NOT NULL,
  blocked        boolean    NOT NULL DEFAULT false,
  email_verified boolean    NOT NULL DEFAULT false,
  birth_date     date,
  -- Events of the user so far.
  version       int         NOT NULL DEFAULT 1,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id),
  CONSTRAINT users_email UNIQUE (tenant_id, email)
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

SELECT om_grant();
