DROP TABLE policies, users, signing_keys, tenants;
