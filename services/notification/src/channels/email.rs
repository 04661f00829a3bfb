//! E-mail over SMTP.

use std::time::Duration;

use fault::Fault;
use ids::MessageId;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{AsyncSmtpTransport, Error, PoolConfig};
use lettre::{Address, AsyncTransport, Message as Mail, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use crate::letter::Letter;
use crate::model::Outcome;

/// The mail server was not reached, or broke off: whether it took the mail is not known.
pub(crate) const AWAY: &str = "MAIL_SERVER_AWAY";
/// Longest wait for the mail server; less than a try has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are kept, and how long an idle one is.
const POOL: (u32, Duration) = (4, Duration::from_secs(30));

/// A mail server, and who writes.
#[derive(Clone)]
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Email {
    /// Over a URL such as `smtp://host:25`, `smtp://user:password@host:587?tls=required` or `smtps://…`.
    ///
    /// # Errors
    /// Internal when the URL or the sender cannot be read; neither is shown.
    pub(crate) fn new(url: &SecretString, from: &str) -> Result<Self, Fault> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret());
        let builder = builder.map_err(|_| Fault::internal("the URL of the mail server cannot be read"))?;
        let pool = PoolConfig::new().max_size(POOL.0).idle_timeout(POOL.1);
        let from = from.parse().map_err(|_| Fault::internal("the sender of mails is not NAME <ADDRESS>"))?;
        Ok(Self { transport: builder.timeout(Some(PATIENCE)).pool_config(pool).build(), from })
    }

    /// Hands a letter to the mail server.
    ///
    /// Every try carries the same Message-ID, so that a mail that came twice after an unknown outcome is seen to be one.
    pub(crate) async fn send(&self, id: MessageId, to: &str, letter: Letter) -> Outcome {
        let Ok(to) = to.parse::<Address>() else { return Outcome::Never("ADDRESS_INVALID".to_owned()) };
        let mail = Mail::builder()
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .multipart(MultiPart::alternative_plain_html(letter.text, letter.html));
        let Ok(mail) = mail else { return Outcome::Never("MAIL_UNWRITABLE".to_owned()) };
        match self.transport.send(mail).await {
            Ok(_) => Outcome::Sent,
            Err(error) => judge(&error),
        }
    }
}

/// What an error means; the server's own words may name the recipient, so they are not kept.
fn judge(error: &Error) -> Outcome {
    match error.status().map(u16::from) {
        // The mailbox or the mail itself; what else a server refuses for good may be mended on our side.
        Some(code @ 550..=554) => Outcome::Never(format!("MAIL_REFUSED_{code}")),
        Some(code) => Outcome::Later(format!("MAIL_REFUSED_{code}")),
        None => Outcome::Later(AWAY.to_owned()),
    }
}
