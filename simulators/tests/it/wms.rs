//! The warehouse: orders, tombstones, release, and SOAP faults.

use std::net::SocketAddr;

use reqwest::Client;
use serde_json::json;

use crate::support::{Desk, TENANT, eventually, start};

async fn soap(wms: SocketAddr, op: &str, inner: &str) -> (u16, String) {
    let envelope = format!(
        "<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body>\
         <{op}Request xmlns=\"urn:legacy-wms:v1\"><Tenant>{TENANT}</Tenant>{inner}</{op}Request>\
         </S:Body></S:Envelope>"
    );
    send(wms, envelope).await
}

async fn send(wms: SocketAddr, envelope: String) -> (u16, String) {
    let request = Client::new()
        .post(format!("http://{wms}/wms"))
        .header("Content-Type", "text/xml; charset=utf-8")
        .header("SOAPAction", "\"\"")
        .body(envelope);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn create(wms: SocketAddr, reference: &str) -> (u16, String) {
    let inner = format!(
        "<ClientReference>{reference}</ClientReference><Warehouse>ANY</Warehouse>\
         <Lines><Line><Sku>A&amp;B</Sku><Quantity>2</Quantity></Line>\
         <Line><Sku>C</Sku><Quantity>1</Quantity></Line></Lines>\
         <ShipTo><Name>N</Name><Line1>L</Line1><City>C</City>\
         <PostalCode>1</PostalCode><Country>US</Country></ShipTo>"
    );
    soap(wms, "CreateOrder", &inner).await
}

async fn about(wms: SocketAddr, op: &str, reference: &str) -> (u16, String) {
    let inner = format!("<ClientReference>{reference}</ClientReference>");
    soap(wms, op, &inner).await
}

async fn release(wms: SocketAddr, reference: &str) -> (u16, String) {
    let inner = format!(
        "<ClientReference>{reference}</ClientReference><Carrier>FEDEX</Carrier>\
         <TrackingNumber>794</TrackingNumber>"
    );
    soap(wms, "ReleaseShipment", &inner).await
}

/// The text of the first `name` element of an answer.
fn text<'a>(xml: &'a str, name: &str) -> &'a str {
    let from = xml.split_once(&format!("{name}>")).unwrap().1;
    from.split_once("</").unwrap().0
}

#[tokio::test]
async fn the_same_reference_creates_one_order() {
    let sims = start(1.0).await;
    let (status, first) = create(sims.wms, "ful_1").await;
    assert_eq!(status, 200);
    assert_eq!(text(&first, "Status"), "ACCEPTED");
    let (_, again) = create(sims.wms, "ful_1").await;
    assert_eq!(text(&first, "WmsOrderId"), text(&again, "WmsOrderId"));
    let ledger = Desk(sims.wms).get("ledger").await;
    assert_eq!(ledger.as_array().unwrap().len(), 1);
    assert_eq!(ledger[0]["reference"], "ful_1");
    let lines = json!([{"sku": "A&B", "quantity": 2}, {"sku": "C", "quantity": 1}]);
    assert_eq!(ledger[0]["lines"], lines);
}

#[tokio::test]
async fn at_factor_zero_an_order_is_packed_at_the_next_look_and_shipped_on_release() {
    let sims = start(0.0).await;
    create(sims.wms, "ful_1").await;
    let (status, shown) = about(sims.wms, "GetStatus", "ful_1").await;
    assert_eq!(status, 200);
    assert_eq!(text(&shown, "Status"), "PACKED");
    assert_eq!(text(&shown, "Sku"), "A&amp;B");
    assert_eq!(text(&shown, "Picked"), "2");
    for _ in 0..2 {
        let (status, released) = release(sims.wms, "ful_1").await;
        assert_eq!(status, 200);
        assert_eq!(text(&released, "Status"), "SHIPPED");
    }
    assert_eq!(Desk(sims.wms).ops().await, ["create", "release"]);
}

#[tokio::test]
async fn a_cancel_is_refused_while_picking() {
    let sims = start(20.0).await;
    create(sims.wms, "ful_1").await;
    eventually(async || {
        let (_, shown) = about(sims.wms, "GetStatus", "ful_1").await;
        (text(&shown, "Status") != "ACCEPTED").then_some(())
    })
    .await;
    let (status, refused) = about(sims.wms, "CancelOrder", "ful_1").await;
    assert_eq!(status, 500);
    assert_eq!(text(&refused, "faultcode"), "soap:Client");
    assert_eq!(text(&refused, "faultstring"), "ORDER_IN_PICKING");
    assert_eq!(Desk(sims.wms).ops().await, ["create"]);
}

#[tokio::test]
async fn a_cancel_in_time_is_accepted_and_repeatable() {
    let sims = start(1.0).await;
    create(sims.wms, "ful_1").await;
    assert_eq!(text(&release(sims.wms, "ful_1").await.1, "faultstring"), "NOT_PACKED");
    for _ in 0..2 {
        let (status, cancelled) = about(sims.wms, "CancelOrder", "ful_1").await;
        assert_eq!(status, 200);
        assert_eq!(text(&cancelled, "Status"), "CANCELLED");
    }
    let (_, refused) = release(sims.wms, "ful_1").await;
    assert_eq!(text(&refused, "faultstring"), "ORDER_CANCELLED");
    assert_eq!(Desk(sims.wms).ops().await, ["create", "cancel"]);
}

#[tokio::test]
async fn a_cancel_that_overtakes_its_create_leaves_a_tombstone() {
    let sims = start(0.0).await;
    let (_, cancelled) = about(sims.wms, "CancelOrder", "ful_1").await;
    assert_eq!(text(&cancelled, "Status"), "CANCELLED");
    let (status, refused) = create(sims.wms, "ful_1").await;
    assert_eq!(status, 500);
    assert_eq!(text(&refused, "faultstring"), "ORDER_CANCELLED");
    let (_, shown) = about(sims.wms, "GetStatus", "ful_1").await;
    assert_eq!(text(&shown, "Status"), "CANCELLED");
    assert_eq!(Desk(sims.wms).ops().await, ["cancel"]);
}

#[tokio::test]
async fn unknown_references_are_left_out_and_too_many_refused() {
    let sims = start(0.0).await;
    create(sims.wms, "ful_1").await;
    let references = |n: usize| -> String {
        let one = |i| format!("<ClientReference>ful_{i}</ClientReference>");
        (0..n).map(one).collect()
    };
    let (status, shown) = soap(sims.wms, "GetStatus", &references(200)).await;
    assert_eq!(status, 200);
    assert_eq!(shown.matches("<w:Order>").count(), 1);
    let (_, refused) = soap(sims.wms, "GetStatus", &references(201)).await;
    assert_eq!(text(&refused, "faultstring"), "TOO_MANY_REFERENCES");
    let (_, unknown) = release(sims.wms, "ful_9").await;
    assert_eq!(text(&unknown, "faultstring"), "UNKNOWN_ORDER");
}

#[tokio::test]
async fn ful_01_broken_xml_and_scripted_failures_become_soap_faults() {
    let sims = start(0.0).await;
    let huge = "x".repeat(1024 * 1024 + 1);
    for broken in ["<oops".to_owned(), "<a/>".to_owned(), huge] {
        let (status, fault) = send(sims.wms, broken).await;
        assert_eq!(status, 500);
        assert_eq!(text(&fault, "faultstring"), "MALFORMED");
    }
    let desk = Desk(sims.wms);
    desk.fault(json!({"op": "CreateOrder", "match": "ful_1", "kind": "error500"})).await;
    let (status, fault) = create(sims.wms, "ful_1").await;
    assert_eq!(status, 500);
    assert_eq!(text(&fault, "faultcode"), "soap:Server");
    assert!(desk.ops().await.is_empty());
    assert_eq!(create(sims.wms, "ful_1").await.0, 200);
}
