DROP FUNCTION sealed_again, sealed_below;
DROP TABLE policies, users, signing_keys, tenants;
