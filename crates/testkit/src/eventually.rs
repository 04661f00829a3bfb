use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::db::kept;

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again until there is an answer: `Ok(Some)` ends it, `Ok(None)` and errors mean not yet.
///
/// What did not happen in time can be looked for in the databases, which are kept then.
///
/// # Errors
/// After the deadline, with the last error or a note that nothing came.
pub async fn eventually<T, F>(limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + limit;
    loop {
        let not_yet = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => anyhow::anyhow!("no answer"),
            Err(error) => error,
        };
        if Instant::now() >= end {
            return kept(Err(not_yet).with_context(|| format!("still not so after {limit:?}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::eventually;

    #[tokio::test]
    async fn the_first_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = eventually(Duration::from_secs(5), || {
            asked += 1;
            let answer = (asked == 3).then_some(asked);
            async move { Ok(answer) }
        });
        assert_eq!(answer.await.ok(), Some(3));
    }

    #[tokio::test]
    async fn the_deadline_names_the_last_error() {
        let answer = eventually::<(), _>(Duration::ZERO, || async { anyhow::bail!("not there") }).await;
        assert!(format!("{:#}", answer.expect_err("nothing ever comes")).contains("not there"));
    }
}
