//! The mail sink, spoken to with the client the platform uses.

use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::{AsyncTransport, Message, Tokio1Executor};
use serde_json::json;
use simulators::Simulators;

use crate::support::{Desk, start};

fn mailer(sims: &Simulators) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(sims.smtp.ip().to_string()).port(sims.smtp.port()).build()
}

fn letter(to: &str) -> Message {
    Message::builder()
        .from("Shop <shop@example.com>".parse().unwrap())
        .to(to.parse().unwrap())
        .subject("Déjà vu")
        .body("Hello ü\r\n.starts with a dot\r\nhttps://x.invalid/?a=b\r\n".to_owned())
        .unwrap()
}

#[tokio::test]
async fn a_message_arrives_decoded_and_whole() {
    let sims = start(0.0).await;
    let mailer = mailer(&sims);
    mailer.send(letter("a@example.com")).await.unwrap();
    mailer.send(letter("b@example.com")).await.unwrap();
    let desk = Desk(sims.smtp_http);
    let all = desk.get("messages").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    let found = desk.get("messages?to=b@example.com").await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["from"], "shop@example.com");
    assert_eq!(found[0]["to"], json!(["b@example.com"]));
    assert_eq!(found[0]["subject"], "Déjà vu");
    let text = found[0]["text"].as_str().unwrap();
    assert!(text.contains("Hello ü"), "{text}");
    assert!(text.contains("\n.starts with a dot"), "{text}");
    assert!(text.contains("https://x.invalid/?a=b"), "{text}");
    assert_eq!(desk.ops().await, ["message", "message"]);
}

#[tokio::test]
async fn a_scripted_failure_refuses_one_message_for_now() {
    let sims = start(0.0).await;
    let mailer = mailer(&sims);
    let desk = Desk(sims.smtp_http);
    desk.fault(json!({"op": "message", "match": "a@example.com", "kind": "error500"})).await;
    let refused = mailer.send(letter("a@example.com")).await.unwrap_err();
    assert!(refused.is_transient());
    mailer.send(letter("a@example.com")).await.unwrap();
    assert_eq!(desk.ops().await, ["message"]);
}
