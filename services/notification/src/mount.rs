use contract::notification::v1::notification_service_server::NotificationServiceServer;
use fault::Fault;
use futures::FutureExt;
use outbox::{Consumer, Retention};
use pg::{Pg, Target};
use serve::page::Pages;
use serve::{Boot, Job, Mount, Peers};

use crate::api::Notifications;
use crate::channels::email::Email;
use crate::letter::Letters;
use crate::retry::Retry;
use crate::store::Store;
use crate::{engine, handlers};

/// What the use cases work with.
#[derive(Clone)]
pub(crate) struct App {
    pub store: Store,
    pub email: Email,
    pub letters: Letters,
    pub peers: Peers,
    pub pages: Pages,
    pub retry: Retry,
}

/// Starts the service: its methods, consumer and the job that sends.
///
/// # Errors
/// Unavailable when a pool cannot be built; Internal when the mail server's URL or the sender cannot be read.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("notification", &Target::new(&boot.database), boot.pool_size)?;
    let app = App {
        store: Store::new(pg.clone()),
        email: Email::new(&boot.settings.mail_url, &boot.settings.mail_from)?,
        letters: Letters::new()?,
        peers: boot.peers.clone(),
        pages: boot.pages(),
        retry: Retry::DEFAULT,
    };
    let routes = tonic::service::Routes::new(NotificationServiceServer::new(Notifications(app.clone())));
    let consumer = pg.clone();
    let jobs = vec![
        Job::new("notification.retention", move |cancel| Retention::new(pg.clone()).run(cancel).boxed()),
        Job::new("notification.consumer", move |cancel| {
            Consumer::new(consumer.clone(), handlers::subscription()).run(cancel).boxed()
        }),
        Job::new("notification.sender", move |cancel| engine::run(app.clone(), cancel).boxed()),
    ];
    Ok(Mount { name: "notification", routes, jobs })
}
