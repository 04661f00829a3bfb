DROP FUNCTION order_docs, order_doc, order_append, project, order_place_commit, order_place_begin;
DROP TABLE order_counters, orders;
