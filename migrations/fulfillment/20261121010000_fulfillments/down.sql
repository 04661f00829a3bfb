DROP FUNCTION sealed_again, sealed_below, wms_due, wms_lease_end, wms_lease_keep, wms_lease_take, order_cancel_refused, fulfillments_revoked, order_cancel, fulfillment_open,
  fulfillment_list, fulfillment_get, fulfillment_fold, fulfillments_move, fulfillments_intend, fulfillment_json;
DROP TYPE fulfillment_step, fulfillment_wish;
DROP TABLE wms_leases, fulfillments, orders;
