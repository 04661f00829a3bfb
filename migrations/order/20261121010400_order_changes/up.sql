-- Units of limited products follow an order that was changed, or was not after all: {"SKU": units} is what it has now.
CREATE FUNCTION order_limits_settle(p_tenant uuid, p_order uuid, p_units jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM limited_units u WHERE u.tenant_id = p_tenant AND u.order_id = p_order AND NOT p_units ? u.sku;
  UPDATE limited_units u SET units = (p_units ->> u.sku)::bigint WHERE u.tenant_id = p_tenant AND u.order_id = p_order;
  RETURN true;
END $$;
SELECT om_grant();
