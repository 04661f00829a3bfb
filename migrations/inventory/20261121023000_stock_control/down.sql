DROP FUNCTION reservation_extend, reservations_allocate, get_product, sellable, open_slot, compare_snapshot, rebuild_stock,
  write_off, correct_stock, transfer_stock, set_safety, level_json;
DROP TYPE bound;
DROP TABLE slots, observations, wms_snapshots, stock_issues;
