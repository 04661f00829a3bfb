use std::time::Duration;

use fault::Fault;
use tokio::sync::{mpsc, watch as signal};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A change that another process made is seen after this.
const LOOK: Duration = Duration::from_millis(500);
/// Changes of this process come in bursts; one look serves them all.
const CALM: Duration = Duration::from_millis(25);

/// What a watcher gets: the thing as it is, each time that it changed.
pub type Watched<T> = ReceiverStream<Result<T, Status>>;

/// A look at something that is watched.
#[derive(Debug)]
pub struct Look<T> {
    /// Version that was seen.
    pub etag: String,
    /// Nothing will happen to it any more.
    pub over: bool,
    /// As it is shown; None when the watcher has this version already.
    pub news: Option<T>,
}

/// Shows something now and after every change, until nothing more will happen to it.
///
/// `look` is told the version that the watcher has, which is `seen` at first; it looks again whenever `commits` says that
/// this process committed something, and twice a second for what others do.
///
/// # Errors
/// Of the first look. A later one that fails is the last message.
pub async fn watch<T, F, L>(mut commits: signal::Receiver<u64>, seen: String, mut look: F) -> Result<Watched<T>, Fault>
where
    T: Send + 'static,
    F: FnMut(String) -> L + Send + 'static,
    L: Future<Output = Result<Look<T>, Fault>> + Send + 'static,
{
    let mut found = look(seen).await?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let Look { etag, over, news } = found;
            if let Some(news) = news
                && sender.send(Ok(news)).await.is_err()
            {
                return;
            }
            if over {
                return;
            }
            commits.mark_unchanged();
            tokio::select! {
                () = sender.closed() => return,
                changed = commits.changed() => {
                    if changed.is_err() { return }
                    tokio::time::sleep(CALM).await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            found = match look(etag).await {
                Ok(look) => look,
                Err(fault) => {
                    // The receiver may have left; there is nobody else to tell.
                    drop(sender.send(Err(fault.into())).await);
                    return;
                }
            };
        }
    });
    Ok(ReceiverStream::new(receiver))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio_stream::StreamExt;

    use super::*;

    /// Version 0 is not there, version 3 is the last; the others are shown as themselves.
    fn look(now: &Arc<Mutex<u32>>) -> impl FnMut(String) -> std::future::Ready<Result<Look<u32>, Fault>> + use<> {
        let now = Arc::clone(now);
        move |seen| {
            let version = *now.lock().expect("no panic");
            let etag = version.to_string();
            let news = (etag != seen).then_some(version);
            let missing = || Fault::not_found("GONE", "not there");
            std::future::ready((version > 0).then_some(Look { etag, over: version == 3, news }).ok_or_else(missing))
        }
    }

    /// What comes within two looks.
    async fn next(seen: &mut Watched<u32>) -> Option<Option<Result<u32, tonic::Code>>> {
        let next = tokio::time::timeout(LOOK * 2, seen.next()).await.ok()?;
        Some(next.map(|shown| shown.map_err(|status| status.code())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_sees_each_version_once_until_the_last() {
        let (now, commits) = (Arc::new(Mutex::new(1)), signal::Sender::new(0));
        let set = |version| *now.lock().expect("no panic") = version;
        let mut seen = watch(commits.subscribe(), String::new(), look(&now)).await.expect("there");
        assert_eq!(next(&mut seen).await, Some(Some(Ok(1))));
        assert_eq!(next(&mut seen).await, None, "nothing has changed");
        let begin = tokio::time::Instant::now();
        set(2);
        commits.send_modify(|count| *count += 1);
        assert_eq!(next(&mut seen).await, Some(Some(Ok(2))));
        assert!(begin.elapsed() < LOOK, "a commit of this process is heard");
        set(3);
        assert_eq!(next(&mut seen).await, Some(Some(Ok(3))), "what others did is looked for");
        assert_eq!(next(&mut seen).await, Some(None));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_version_is_shown_the_next_one() {
        let (now, commits) = (Arc::new(Mutex::new(1)), signal::Sender::new(0));
        let mut seen = watch(commits.subscribe(), "1".into(), look(&now)).await.expect("there");
        assert_eq!(next(&mut seen).await, None);
        *now.lock().expect("no panic") = 2;
        assert_eq!(next(&mut seen).await, Some(Some(Ok(2))));
        let mut over = watch(commits.subscribe(), "3".into(), look(&Arc::new(Mutex::new(3)))).await.expect("there");
        assert_eq!(next(&mut over).await, Some(None), "nothing more will happen to it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_refused_and_what_goes_away_ends_with_the_reason() {
        let (now, commits) = (Arc::new(Mutex::new(0)), signal::Sender::new(0));
        let refused = watch(commits.subscribe(), String::new(), look(&now)).await.expect_err("not there");
        assert_eq!(refused.reason(), "GONE");
        *now.lock().expect("no panic") = 1;
        let mut seen = watch(commits.subscribe(), "1".into(), look(&now)).await.expect("there");
        *now.lock().expect("no panic") = 0;
        assert_eq!(next(&mut seen).await, Some(Some(Err(tonic::Code::NotFound))));
        assert_eq!(next(&mut seen).await, Some(None));
    }
}
