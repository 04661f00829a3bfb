-- Our payments against the providers' books, by day (PAY-11).

CREATE TABLE reconciliations (
  tenant_id uuid        NOT NULL,
  provider  text        NOT NULL,
  day       date        NOT NULL,
  ours      int         NOT NULL,
  theirs    int         NOT NULL,
  run_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, provider, day)
);
SELECT om_protect('reconciliations');

CREATE TABLE discrepancies (
  tenant_id   uuid        NOT NULL,
  id          text        NOT NULL,
  provider    text        NOT NULL,
  day         date        NOT NULL,
  class       text        NOT NULL CHECK (class IN ('MISSING_OURS', 'MISSING_THEIRS', 'AMOUNT_DIFFERS', 'STATE_DIFFERS')),
  payment_id  uuid,
  reference   text,
  ours        text        NOT NULL,
  theirs      text        NOT NULL,
  state       text        NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'RESOLVED')),
  resolution  text        CHECK (resolution IN ('REDRIVEN', 'ACCEPTED', 'GONE')),
  reason      text        NOT NULL DEFAULT '',
  resolved_by text        NOT NULL DEFAULT '',
  found_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX discrepancies_of_day ON discrepancies (tenant_id, provider, day);
SELECT om_protect('discrepancies');

-- Our payments of a provider that began in a period and may be known there.
CREATE FUNCTION reconciliation_ours(p_tenant uuid, p_provider text, p_day text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(p)), '[]') FROM payments p
    WHERE tenant_id = p_tenant AND provider = p_provider AND NOT manual AND provider_reference IS NOT NULL
      AND created_at >= p_day::date::timestamp AT TIME ZONE 'UTC' AND created_at < (p_day::date + 1)::timestamp AT TIME ZONE 'UTC');
END $$;

-- The figures of a day; NULL when it was never run.
CREATE FUNCTION reconciliation_get(p_tenant uuid, p_provider text, p_day text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT to_jsonb(r) || jsonb_build_object('classes', (
      SELECT coalesce(jsonb_object_agg(c.class, c.n), '{}') FROM (
        SELECT class, count(*) AS n FROM discrepancies
          WHERE tenant_id = p_tenant AND provider = p_provider AND day = p_day::date AND state = 'OPEN' GROUP BY class) c))
    FROM reconciliations r WHERE tenant_id = p_tenant AND provider = p_provider AND day = p_day::date);
END $$;

-- Keeps what a run found. What was accepted stays so, unless it differs in another way now.
CREATE FUNCTION reconciliation_store(p_tenant uuid, p_provider text, p_day text, p_ours int, p_theirs int, p_found jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  INSERT INTO reconciliations (tenant_id, provider, day, ours, theirs) VALUES (p_tenant, p_provider, p_day::date, p_ours, p_theirs)
    ON CONFLICT (tenant_id, provider, day) DO UPDATE SET ours = excluded.ours, theirs = excluded.theirs, run_at = now();
  UPDATE discrepancies SET state = 'RESOLVED', resolution = 'GONE'
    WHERE tenant_id = p_tenant AND provider = p_provider AND day = p_day::date AND state = 'OPEN'
      AND id NOT IN (SELECT f->>'id' FROM jsonb_array_elements(p_found) f);
  INSERT INTO discrepancies AS d (tenant_id, id, provider, day, class, payment_id, reference, ours, theirs)
    SELECT p_tenant, f.id, p_provider, p_day::date, f.class, f.payment_id, f.reference, f.ours, f.theirs
    FROM jsonb_to_recordset(p_found) AS f(id text, class text, payment_id uuid, reference text, ours text, theirs text)
    ON CONFLICT (tenant_id, id) DO UPDATE
      SET class = excluded.class, ours = excluded.ours, theirs = excluded.theirs, reference = excluded.reference,
        state = 'OPEN', resolution = NULL, reason = '', resolved_by = ''
      WHERE (d.class, d.ours, d.theirs) <> (excluded.class, excluded.ours, excluded.theirs)
        OR d.resolution IN ('GONE', 'REDRIVEN');
  RETURN reconciliation_get(p_tenant, p_provider, p_day);
END $$;

-- What differs, behind an id; one of it when p_id is given.
CREATE FUNCTION discrepancies_page(p_tenant uuid, p_id text, p_after text, p_resolved boolean, p_limit int) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  RETURN (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]') FROM (
    SELECT * FROM discrepancies WHERE tenant_id = p_tenant AND (p_id IS NULL OR id = p_id) AND id > p_after
      AND (p_resolved OR state = 'OPEN') ORDER BY id LIMIT p_limit) d);
END $$;

-- Ends a discrepancy; one that has ended stays as it is. NULL when there is none.
CREATE FUNCTION discrepancy_resolve(p_tenant uuid, p_id text, p_resolution text, p_reason text, p_by text) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant', p_tenant::text, true);
  UPDATE discrepancies SET state = 'RESOLVED', resolution = p_resolution, reason = p_reason, resolved_by = p_by
    WHERE tenant_id = p_tenant AND id = p_id AND state = 'OPEN';
  RETURN (SELECT to_jsonb(d) FROM discrepancies d WHERE tenant_id = p_tenant AND id = p_id);
END $$;

SELECT om_grant();
