use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Mail, RETRY, World};
use crate::engine;
use crate::model::{Message, State};
use crate::retry::Retry;

fn outcomes(message: &Message) -> Vec<&str> {
    message.log.iter().map(|attempt| attempt.outcome.as_str()).collect()
}

/// A port where nobody listens: not one of those that the system gives to every connection.
fn closed() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 8_000)?;
    let mut ports = (0..1_000).map(|_| 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

#[tokio::test]
async fn not_05_a_mail_server_that_comes_back_gets_each_mail_once_and_every_try_is_seen() -> anyhow::Result<()> {
    let port = closed()?;
    let world = World::at(port, RETRY).await?;
    let cancel = CancellationToken::new();
    tokio::spawn(engine::run(world.app.clone(), cancel.clone()));
    let cases: Vec<_> = (0..5).map(|_| world.case()).collect();
    for case in &cases {
        world.confirm(case).await?;
    }
    eventually(LIMIT, async || {
        let tries = futures::future::try_join_all(cases.iter().map(|case| world.only(case))).await?;
        assert!(tries.iter().all(|message| message.state == State::Pending));
        Ok(tries.iter().any(|message| outcomes(message).len() >= 2).then_some(()))
    })
    .await?;
    let mail = Mail::start(port).await?;
    for case in &cases {
        eventually(LIMIT, async || Ok((world.only(case).await?.state == State::Sent).then_some(()))).await?;
        mail.only(case).await?;
        let message = world.only(case).await?;
        let (last, before) = (outcomes(&message).pop(), &message.log[..message.log.len() - 1]);
        assert_eq!(last, Some("SENT"));
        assert!(before.iter().all(|attempt| attempt.outcome == "MAIL_SERVER_AWAY"), "{before:?}");
        assert_eq!(usize::try_from(message.attempts)?, message.log.len());
    }
    cancel.cancel();
    Ok(())
}

#[tokio::test]
async fn a_try_whose_outcome_nobody_knows_is_repeated_under_the_same_message_id() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    mail.fault("reset_after", 1).await?;
    let case = world.case();
    world.confirm(&case).await?;
    let message = world.until(&case, State::Sent).await?;
    assert_eq!(outcomes(&message), ["MAIL_SERVER_AWAY", "SENT"]);
    let mails = mail.to(&case).await?;
    let id = format!("Message-ID: <{}@shop.example>", message.id());
    let same = mails.iter().filter(|mail| mail["raw"].as_str().is_some_and(|raw| raw.contains(&id))).count();
    assert_eq!((mails.len(), same), (2, 2), "who reads it sees that both are one");
    Ok(())
}

#[tokio::test]
async fn a_mail_that_was_surely_not_taken_comes_once() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    for (fault, outcome) in [("error500", "MAIL_REFUSED_451"), ("reset", "MAIL_SERVER_AWAY")] {
        mail.fault(fault, 1).await?;
        let case = world.case();
        world.confirm(&case).await?;
        let message = world.until(&case, State::Sent).await?;
        assert_eq!(outcomes(&message), [outcome, "SENT"]);
        mail.only(&case).await?;
    }
    Ok(())
}

#[tokio::test]
async fn not_06_after_its_last_try_a_message_is_a_dead_letter_until_somebody_asks_again() -> anyhow::Result<()> {
    let port = closed()?;
    let few = Retry { first: Duration::from_millis(1), longest: Duration::from_millis(1), tries: 3 };
    let world = World::at(port, few).await?;
    let case = world.case();
    world.confirm(&case).await?;
    let dead = world.until(&case, State::Failed).await?;
    assert_eq!(outcomes(&dead), ["MAIL_SERVER_AWAY"; 3]);
    assert_eq!(engine::round(&world.app, 40).await?.tried, 0, "it is left alone");
    let mail = Mail::start(port).await?;
    world.app.store.retry(case.tenant, dead.id()).await?;
    let sent = world.until(&case, State::Sent).await?;
    assert_eq!(sent.log.len(), 4);
    mail.only(&case).await?;
    assert_eq!(world.events().await?, ["NotificationFailed", "NotificationSent"]);
    // What is sent is not sent again.
    world.app.store.retry(case.tenant, dead.id()).await?;
    assert_eq!(engine::round(&world.app, 40).await?.tried, 0);
    mail.only(&case).await?;
    Ok(())
}

#[tokio::test]
async fn a_buyer_who_is_gone_is_not_tried_twice_and_one_who_cannot_be_asked_is() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let gone = world.case();
    world.others.notes().users.remove(&gone.customer.to_string());
    world.confirm(&gone).await?;
    let message = world.until(&gone, State::Failed).await?;
    assert_eq!(outcomes(&message), ["USER_NOT_FOUND"]);
    let case = world.case();
    world.others.notes().identity_away = true;
    world.confirm(&case).await?;
    eventually(LIMIT, async || {
        engine::round(&world.app, 40).await?;
        Ok((!world.only(&case).await?.log.is_empty()).then_some(()))
    })
    .await?;
    assert_eq!(world.only(&case).await?.state, State::Pending);
    world.others.notes().identity_away = false;
    world.until(&case, State::Sent).await?;
    mail.only(&case).await?;
    Ok(())
}
