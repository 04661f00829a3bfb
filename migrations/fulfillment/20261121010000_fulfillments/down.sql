DROP FUNCTION sealed_again, sealed_below, wms_due, wms_lease_end, wms_lease_keep, wms_lease_take, order_cancel_refused, order_cancel, fulfillment_open,
  fulfillment_list, fulfillment_get, fulfillment_fold, fulfillment_move, fulfillment_intend, fulfillment_json;
DROP TABLE wms_leases, fulfillments, orders;
