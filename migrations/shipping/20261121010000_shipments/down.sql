DROP FUNCTION sealed_again, sealed_below, poll_take, silent_shipments, shipment_move, scans_take, label_intend, shipment_list, shipment_label,
  shipment_get, project, shipment_create, shipment_json;
DROP TABLE scans, carrier_events, shipments;
