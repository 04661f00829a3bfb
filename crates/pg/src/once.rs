use ctx::Ctx;
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{Conn, Error, Pg};

mod sql {
    use diesel::sql_types::{Binary, Text, Uuid};

    diesel::define_sql_function! {
        /// NULL: the key is fresh; else one byte (0 other request, 1 same request) and the stored response.
        fn idempotency_claim(tenant: Uuid, scope: Text,
            key: Text, fingerprint: Binary)
            -> Nullable<Binary>;
    }
    diesel::define_sql_function! {
        /// Keeps the response of a claimed key.
        fn idempotency_store(tenant: Uuid, scope: Text,
            key: Text, response: Binary) -> Bool;
    }
}

/// The answer of a command that happens once per idempotency key (rules I1, I2).
#[derive(Debug, Clone)]
pub struct Once<R> {
    /// The answer, the stored one on a repeat.
    pub response: R,
    /// Whether it is a repeat.
    pub replayed: bool,
}

impl<R> From<Once<R>> for (R, bool) {
    /// What `serve::respond` takes; the two crates do not know each other.
    fn from(once: Once<R>) -> Self {
        (once.response, once.replayed)
    }
}

impl Pg {
    /// Runs a command in one transaction, at most once per idempotency key of the context.
    ///
    /// A repeat with the same request gets the stored answer and has no effect; without a key the command just runs.
    ///
    /// # Errors
    /// Invalid `IDEMPOTENCY_KEY_REUSED` when the key came with another request before; whatever the body says, and
    /// then nothing is stored.
    pub async fn once<R, F>(&self, name: &'static str, ctx: &Ctx, body: F) -> Result<Once<R>, Error>
    where
        R: prost::Message + Default + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<R, Error>> + Send + Sync + 'static,
    {
        let tenant = ctx.tenant.uuid();
        let idempotency = ctx.idempotency.clone();
        let body = std::sync::Arc::new(body);
        self.tx(name, ctx.tenant, move |conn| {
            let idempotency = idempotency.clone();
            let body = std::sync::Arc::clone(&body);
            async move {
                let Some(key) = idempotency else {
                    return Ok(Once { response: body(conn).await?, replayed: false });
                };
                let claim = sql::idempotency_claim(tenant, &key.scope, &key.key, &key.fingerprint[..]);
                let stored: Option<Vec<u8>> = diesel::select(claim).get_result(conn).await?;
                if let Some(stored) = stored {
                    return replay(&stored);
                }
                let response = body(conn).await?;
                let store = sql::idempotency_store(tenant, &key.scope, &key.key, response.encode_to_vec());
                diesel::select(store).get_result::<bool>(conn).await?;
                Ok(Once { response, replayed: false })
            }
            .boxed()
        })
        .await
    }
}

fn replay<R: prost::Message + Default>(stored: &[u8]) -> Result<Once<R>, Error> {
    match stored.split_first() {
        Some((1, response)) => {
            let response = R::decode(response).map_err(Fault::internal)?;
            Ok(Once { response, replayed: true })
        }
        _ => Err(Fault::invalid(
            "idempotency_key",
            "IDEMPOTENCY_KEY_REUSED",
            "the key was used for another request before",
        )
        .into()),
    }
}
