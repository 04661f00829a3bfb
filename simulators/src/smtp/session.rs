//! One SMTP conversation (RFC 5321), without authentication or TLS.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Sink;
use crate::control::faults::FaultKind;

/// RFC 5321 §4.5.3.1 asks for 512 and 1000; clients are often more generous.
const LONGEST_LINE: u64 = 8 * 1024;
const LARGEST_MESSAGE: usize = 10 * 1024 * 1024;
const MOST_RECIPIENTS: usize = 100;

struct Session<'a> {
    stream: BufReader<TcpStream>,
    sink: &'a Sink,
    from: Option<String>,
    to: Vec<String>,
}

/// What follows a command.
enum Next {
    Go,
    Quit,
}

/// Talks until the client quits.
///
/// # Errors
/// The connection breaks, or a fault script breaks it.
pub(super) async fn run(stream: TcpStream, sink: &Sink) -> io::Result<()> {
    let mut session = Session { stream: BufReader::new(stream), sink, from: None, to: Vec::new() };
    session.say("220 ordermesh-simulators ESMTP").await?;
    while let Some(line) = session.line().await? {
        let line = String::from_utf8_lossy(&line).into_owned();
        if matches!(session.command(line.trim_end()).await?, Next::Quit) {
            break;
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "HELO" => self.say("250 ordermesh-simulators").await?,
            "EHLO" => {
                let limits =
                    format!("250-ordermesh-simulators\r\n250-SIZE {LARGEST_MESSAGE}\r\n250-8BITMIME\r\n250 SMTPUTF8");
                self.say(&limits).await?;
            }
            "MAIL" => match path(rest, "FROM:") {
                Some(from) => {
                    self.from = Some(from);
                    self.to.clear();
                    self.say("250 2.1.0 OK").await?;
                }
                None => self.say("501 5.5.4 MAIL FROM:<address> expected").await?,
            },
            "RCPT" => self.recipient(rest).await?,
            "DATA" => return self.data().await,
            "RSET" => {
                self.forget();
                self.say("250 2.0.0 OK").await?;
            }
            "NOOP" => self.say("250 2.0.0 OK").await?,
            "QUIT" => {
                self.say("221 2.0.0 Bye").await?;
                return Ok(Next::Quit);
            }
            _ => self.say("502 5.5.1 Not implemented").await?,
        }
        Ok(Next::Go)
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_none() {
            return self.say("503 5.5.1 MAIL first").await;
        }
        if self.to.len() == MOST_RECIPIENTS {
            return self.say("452 4.5.3 Too many recipients").await;
        }
        match path(rest, "TO:").filter(|to| !to.is_empty()) {
            Some(to) => {
                self.to.push(to);
                self.say("250 2.1.5 OK").await
            }
            None => self.say("501 5.5.4 RCPT TO:<address> expected").await,
        }
    }

    async fn data(&mut self) -> io::Result<Next> {
        if self.to.is_empty() {
            self.say("503 5.5.1 RCPT first").await?;
            return Ok(Next::Go);
        }
        self.say("354 End with <CR><LF>.<CR><LF>").await?;
        let Some(raw) = self.message().await? else {
            return Ok(Next::Quit);
        };
        let control = &self.sink.control;
        let fault = control.begin("message", &self.to.join(" "));
        let (before, works, after) = match fault.as_ref().map(|fault| fault.kind) {
            None => (false, true, false),
            Some(FaultKind::Error500) => (false, false, false),
            Some(FaultKind::TimeoutBefore) => (true, false, false),
            Some(FaultKind::TimeoutAfter) => (false, true, true),
            Some(FaultKind::Delay) => (true, true, false),
            Some(FaultKind::Reset) => return self.reset(),
            Some(FaultKind::ResetAfter) => {
                self.accept(&raw);
                return self.reset();
            }
        };
        let delay = fault.map(|fault| fault.delay()).unwrap_or_default();
        if before {
            control.wait(delay).await;
        }
        if works {
            self.accept(&raw);
        }
        if after {
            control.wait(delay).await;
        }
        self.forget();
        if works {
            self.say("250 2.0.0 Accepted").await?;
        } else {
            self.say("451 4.3.0 Try again later").await?;
        }
        Ok(Next::Go)
    }

    /// The message without dot stuffing; `None` when it never ended or is too large.
    async fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut raw = Vec::new();
        while let Some(line) = self.line().await? {
            match line.strip_prefix(b".") {
                Some(b"\r\n" | b"\n") => return Ok(Some(raw)),
                Some(unstuffed) => raw.extend_from_slice(unstuffed),
                None => raw.extend_from_slice(&line),
            }
            if raw.len() > LARGEST_MESSAGE {
                self.say("552 5.3.4 Message too large").await?;
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn accept(&mut self, raw: &[u8]) {
        let from = self.from.clone().unwrap_or_default();
        self.sink.accept(from, self.to.clone(), raw);
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn reset(&self) -> io::Result<Next> {
        self.stream.get_ref().set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// The next line with its line end; `None` at the end of the stream.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut line).await?;
        if read as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an SMTP line is too long"));
        }
        Ok((read > 0).then_some(line))
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await
    }
}

/// The address in `FROM:<address> PARAMETER…`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let tail = rest.trim_start();
    let named = tail.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword));
    let (address, _) = named.then(|| tail[keyword.len()..].trim_start().strip_prefix('<'))??.split_once('>')?;
    Some(address.to_owned())
}
