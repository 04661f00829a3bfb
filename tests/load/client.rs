//! A client of little cost: what the load generator uses of the cores is missing to what it measures.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ordermesh::rest::Rest;
use tokio::net::TcpStream;

/// One connection of a caller with a token. Nothing is repeated.
pub struct Client {
    requests: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    bearer: HeaderValue,
}

impl Client {
    /// Connects as a caller who has logged in.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(caller: &Rest) -> Result<Self> {
        let host = caller.url().strip_prefix("http://").context("the bench speaks plain HTTP")?;
        let token = caller.token().context("nobody has logged in")?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { requests, host: host.parse()?, bearer: format!("Bearer {token}").parse()? })
    }

    /// POST of JSON; the answer's text.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn post(&mut self, path: &str, body: String, key: &str) -> Result<Bytes> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.bearer)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Full::new(Bytes::from(body)))?;
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path} was answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}
