DROP FUNCTION parts_end(), om_make_parts(int), om_id_at(timestamptz);
DROP TABLE events;
CREATE TABLE events (
  tenant_id   uuid        NOT NULL,
  stream_id   uuid        NOT NULL,
  version     int         NOT NULL CHECK (version > 0),
  xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
  gpos        bigint      GENERATED ALWAYS AS IDENTITY,
  event_id    uuid        NOT NULL,
  type        text        NOT NULL,
  topic       text        NOT NULL,
  payload     bytea       NOT NULL,
  meta        jsonb       NOT NULL,
  occurred_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, stream_id, version)
);
CREATE INDEX events_log ON events (xid, gpos);
SELECT om_protect('events', 'append');
SELECT om_bus_reads();
SELECT om_grant();
