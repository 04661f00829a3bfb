//! A gRPC caller that knows no types: a path, headers as they are, and bytes.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use fault::{Fault, Violation};
use futures::StreamExt as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Longest time a cell may take; a stream that is still open then has passed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a caller sees of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) violations: Vec<Violation>,
    /// Details of a refusal as they were on the wire.
    pub(super) details: Bytes,
    pub(super) bodies: Vec<Bytes>,
}

impl Answer {
    fn ok(bodies: Vec<Bytes>) -> Self {
        let (reason, message) = (String::new(), String::new());
        Self { code: Code::Ok, reason, message, violations: Vec::new(), details: Bytes::new(), bodies }
    }

    fn refused(status: Status) -> Self {
        let (code, message) = (status.code(), status.message().to_owned());
        let details = Bytes::copy_from_slice(status.details());
        let fault = Fault::from(status);
        let (reason, violations) = (fault.reason().to_owned(), fault.violations().to_vec());
        Self { code, reason, message, violations, details, bodies: Vec::new() }
    }

    /// Whether the gate let the call through; what the handler says to it is another matter.
    pub(super) fn passed(&self) -> bool {
        const GATE: [&str; 6] = [
            "TOKEN_INVALID",
            "TENANT_MISSING",
            "TENANT_MISMATCH",
            "TENANT_FORBIDDEN",
            "ROLE_MISSING",
            "CALLER_NOT_ALLOWED",
        ];
        !GATE.contains(&self.reason.as_str())
    }

    /// Fields that were wrong.
    pub(super) fn fields(&self) -> Vec<&str> {
        self.violations.iter().map(|violation| violation.field.as_str()).collect()
    }
}

/// A connection to the port where all services are.
#[derive(Clone)]
pub(super) struct Caller(Channel);

impl Caller {
    /// Connects when it is first used, on the runtime of the test.
    pub(super) fn new(address: std::net::SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
        Self(endpoint.connect_lazy())
    }

    /// Sends one message with exactly these headers; a header may come twice.
    pub(super) async fn call(&self, path: &str, headers: &[(&str, &str)], message: Bytes) -> Answer {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        self.call_bytes(path, &headers, message).await
    }

    /// The same with header values that need not be text.
    pub(super) async fn call_bytes(&self, path: &str, headers: &[(&str, &[u8])], message: Bytes) -> Answer {
        let mut request = Request::new(message);
        for (name, value) in headers {
            let name: AsciiMetadataKey = name.parse().expect("a header's name");
            let value = AsciiMetadataValue::try_from(*value).expect("bytes that a header may hold");
            request.metadata_mut().append(name, value);
        }
        match tokio::time::timeout(PATIENCE, self.send(path, request)).await {
            Ok(Ok(bodies)) => Answer::ok(bodies),
            Ok(Err(status)) => Answer::refused(status),
            Err(_) => Answer::refused(Status::deadline_exceeded(format!("{path} is silent for {PATIENCE:?}"))),
        }
    }

    async fn send(&self, path: &str, request: Request<Bytes>) -> Result<Vec<Bytes>, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.map_err(|error| Status::unavailable(format!("cannot connect: {error}")))?;
        let path = http::uri::PathAndQuery::try_from(path).expect("a path of the contract");
        // A unary answer is a stream of one, so streams need no way of their own.
        let answer = client.server_streaming(request, path, Raw).await?;
        let (mut stream, mut bodies) = (answer.into_inner(), Vec::new());
        while let Some(body) = stream.next().await {
            bodies.push(body?);
        }
        Ok(bodies)
    }
}

#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
