DROP FUNCTION stock_news_tell, stock_news_lock, stock_changes_seen, stock_changes, reorder_up_to, low_threshold;
DROP TABLE stock_news, inventory_settings;
DELETE FROM relay_cursor WHERE id = 2;
ALTER TABLE relay_cursor DROP CONSTRAINT relay_cursor_id_check;
ALTER TABLE relay_cursor ADD CONSTRAINT relay_cursor_id_check CHECK (id = 1);
