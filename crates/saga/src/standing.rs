use diesel::sql_types::{Bool, Jsonb, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryableByName};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use pg::Conn;
use serde_json::Value;
use uuid::Uuid;

/// How far a saga is, for who goes on from where it ended.
#[derive(Debug, Clone, QueryableByName)]
pub struct Standing {
    /// Nothing will happen to it any more.
    #[diesel(sql_type = Bool)]
    pub over: bool,
    /// What its steps left.
    #[diesel(sql_type = Jsonb)]
    pub state: Value,
}

/// Reads how far a saga is; none when there is no such saga.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn standing(conn: &mut Conn, tenant: TenantId, saga_id: Uuid) -> Result<Option<Standing>, pg::Error> {
    let query = diesel::sql_query(
        "SELECT status IN ('completed', 'compensated', 'resolved') AS over, state FROM sagas \
         WHERE tenant_id = $1 AND saga_id = $2",
    );
    let query = query.bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(saga_id);
    Ok(query.get_result(conn).await.optional()?)
}
