use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use ids::TenantId;
use serve::page::size;

use super::{Mail, RETRY, World};
use crate::api::{List, list};
use crate::model::{Outcome, State};
use crate::store::Filter;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    text: String,
}

impl World {
    /// Short names of everything published, in order.
    pub(super) async fn events(&self) -> anyhow::Result<Vec<String>> {
        let all = "SELECT split_part(type, '.', 4) AS text FROM om_notification.events ORDER BY gpos";
        let rows: Vec<Row> = diesel::sql_query(all).load(&mut self.db.admin().await?).await?;
        Ok(rows.into_iter().map(|row| row.text).collect())
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing_and_changes_nothing() -> anyhow::Result<()> {
    let world = World::at(9, RETRY).await?;
    let (mine, other) = (world.case(), TenantId::new());
    world.confirm(&mine).await?;
    let id = world.only(&mine).await?.id();
    assert!(world.app.store.list(other, Filter::default(), None, 10).await?.is_empty());
    let by_order = Filter { order: Some(mine.order), customer: Some(mine.customer), state: Some(State::Pending) };
    assert!(world.app.store.list(other, by_order, None, 10).await?.is_empty());
    assert_eq!(world.app.store.list(mine.tenant, by_order, None, 10).await?.len(), 1);
    let fault = world.app.store.get(other, id).await.expect_err("not his");
    assert_eq!(fault.reason(), "MESSAGE_NOT_FOUND");
    let lease = Duration::from_secs(1);
    assert!(world.app.store.claim(other, vec![id.uuid()], lease).await?.is_empty());
    world.app.store.retry(other, id).await?;
    assert_eq!(world.only(&mine).await?.attempts, 0);
    Ok(())
}

#[tokio::test]
async fn a_claim_keeps_others_away_and_who_comes_late_writes_over_nothing() -> anyhow::Result<()> {
    let world = World::at(9, RETRY).await?;
    let case = world.case();
    world.confirm(&case).await?;
    let ids = vec![world.only(&case).await?.id().uuid()];
    let (store, ctx) =
        (&world.app.store, ctx::Ctx::service("notification", case.tenant, Default::default(), jiff::Timestamp::now()));
    let first = store.claim(case.tenant, ids.clone(), Duration::ZERO).await?.remove(0);
    let second = store.claim(case.tenant, ids.clone(), Duration::from_secs(60)).await?.remove(0);
    assert!(store.claim(case.tenant, ids, Duration::ZERO).await?.is_empty(), "somebody has it");
    assert!(store.due(10).await?.is_empty());
    let again = Some(Duration::ZERO);
    assert!(!store.settle(&ctx, &first, &Outcome::Later("X".into()), again, None).await?, "there was a later try");
    assert!(!store.settle(&ctx, &first, &Outcome::Never("X".into()), None, None).await?);
    // That the mail is out is true whoever says it.
    assert!(store.settle(&ctx, &first, &Outcome::Sent, None, None).await?);
    assert!(!store.settle(&ctx, &second, &Outcome::Later("X".into()), again, None).await?);
    assert_eq!(world.only(&case).await?.state, State::Sent);
    Ok(())
}

#[tokio::test]
async fn pages_hold_every_message_once_and_tokens_fit_their_filter() -> anyhow::Result<()> {
    let world = World::at(9, RETRY).await?;
    let case = world.case();
    for minor in 1..=7 {
        world.deliver(&case, &case.refunded(minor)).await?;
    }
    let ctx = ctx::Ctx::service("test", case.tenant, Default::default(), jiff::Timestamp::now());
    for filter in [
        Filter::default(),
        Filter { order: Some(case.order), ..Filter::default() },
        Filter { customer: Some(case.customer), ..Filter::default() },
        Filter { state: Some(State::Pending), ..Filter::default() },
    ] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&world.app, &ctx, List { size: size(3)?, token, filter }).await?;
            seen.extend(page.messages.iter().map(crate::model::Message::id));
            token = page.next;
            if token.is_empty() {
                break;
            }
            let other = Filter { state: Some(State::Sent), ..filter };
            let refused = list(&world.app, &ctx, List { size: 3, token: token.clone(), filter: other }).await;
            assert_eq!(refused.err().map(|fault| fault.reason().to_owned()).as_deref(), Some("PAGE_TOKEN_INVALID"));
        }
        assert!(seen.len() == 7 && seen.windows(2).all(|pair| pair[0] > pair[1]), "{filter:?}: {seen:?}");
    }
    let failed = Filter { state: Some(State::Failed), ..Filter::default() };
    assert!(list(&world.app, &ctx, List { size: 3, token: String::new(), filter: failed }).await?.messages.is_empty());
    Ok(())
}

#[tokio::test]
async fn pay_12_neither_address_nor_name_is_stored() -> anyhow::Result<()> {
    let mail = Mail::start(0).await?;
    let world = World::at(mail.port(), RETRY).await?;
    let case = world.case();
    mail.fault("error500", 1).await?;
    world.confirm(&case).await?;
    world.until(&case, State::Sent).await?;
    let all = "SELECT concat(to_jsonb(m), to_jsonb(a), to_jsonb(e), encode(e.payload, 'escape')) AS text \
               FROM om_notification.messages m, om_notification.attempts a, om_notification.events e";
    let rows: Vec<Row> = diesel::sql_query(all).load(&mut world.db.admin().await?).await?;
    assert!(!rows.is_empty());
    for Row { text } in rows {
        assert!(!text.contains(&case.email) && !text.contains("Lovelace"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_migration_can_be_taken_back_and_run_again() -> anyhow::Result<()> {
    const UP: &str = include_str!("../../../../migrations/notification/20261121034000_messages/up.sql");
    const DOWN: &str = include_str!("../../../../migrations/notification/20261121034000_messages/down.sql");
    let world = World::at(9, RETRY).await?;
    let mut admin = world.db.admin().await?;
    for sql in ["SET search_path = om_notification", DOWN, UP] {
        admin.batch_execute(sql).await?;
    }
    Ok(())
}
