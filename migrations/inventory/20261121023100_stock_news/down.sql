DROP FUNCTION stock_news_tell, stock_news_lock, stock_changes_seen, stock_changes, reorder_up_to, low_threshold;
DROP TABLE stock_untold, stock_news, inventory_settings, ledger_cursor;
