DROP FUNCTION reservation_extend, reservation_call_off, reservations_allocate, get_product, sellable, open_slot,
  observe_absent, compare_snapshot, since_count, rebuild_stock, write_off, correct_stock, transfer_stock, set_safety, level_json;
DROP TYPE bound;
DROP TABLE slots, observations, wms_snapshots, stock_issues;
