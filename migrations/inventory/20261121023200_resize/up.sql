-- Orders that are changed after their stock was set aside (ORD-05).

-- The last wish about the order; what comes late has a lower one and changes nothing.
ALTER TABLE reservations ADD COLUMN revision int NOT NULL DEFAULT 0 CHECK (revision >= 0);

-- Second half of resizing: what is set aside from now on, within what reserve_lock told. p_plan: [{sku, warehouse, quantity}].
CREATE FUNCTION reservation_resize(p_tenant uuid, p_order uuid, p_revision int, p_plan jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  moved record;
BEGIN
  -- What was bound to fulfillments waits for new ones.
  UPDATE reservations SET revision = p_revision, version = version + 1, updated_at = now(),
      state = CASE state WHEN 6 THEN 2 ELSE state END
    WHERE tenant_id = p_tenant AND order_id = p_order;
  FOR moved IN
    SELECT d.sku, d.warehouse, sum(d.units)::int AS units FROM (
      SELECT p.sku, p.warehouse, p.quantity AS units
        FROM jsonb_to_recordset(p_plan) AS p (sku text, warehouse text, quantity int)
      UNION ALL
      SELECT a.sku, a.warehouse, -a.quantity FROM allocations a WHERE a.tenant_id = p_tenant AND a.order_id = p_order
    ) d GROUP BY 1, 2 HAVING sum(d.units) <> 0 ORDER BY 1, 2
  LOOP
    INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
      VALUES (p_tenant, moved.sku, moved.warehouse, 0, moved.units, CASE WHEN moved.units > 0 THEN 'RESERVE' ELSE 'RELEASE' END,
              'ord_' || replace(p_order::text, '-', ''));
    UPDATE stock s SET reserved = s.reserved + moved.units
      WHERE s.tenant_id = p_tenant AND s.sku = moved.sku AND s.warehouse = moved.warehouse;
  END LOOP;
  DELETE FROM allocations WHERE tenant_id = p_tenant AND order_id = p_order;
  INSERT INTO allocations (tenant_id, order_id, sku, warehouse, quantity)
    SELECT p_tenant, p_order, p.sku, p.warehouse, p.quantity
    FROM jsonb_to_recordset(p_plan) AS p (sku text, warehouse text, quantity int);
END $$;
SELECT om_grant();
