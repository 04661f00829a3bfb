DROP FUNCTION sealed_again(uuid, text, bytea, bytea), sealed_below(uuid, bytea, int);
DROP FUNCTION subscription_due(uuid, int), subscription_page(uuid, uuid, smallint[], uuid, int),
  subscription_save(uuid, uuid, int, uuid, smallint, bytea, bytea, timestamptz, jsonb, text, text, bytea, jsonb);
DROP TABLE subscription_periods, subscriptions;
