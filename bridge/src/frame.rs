//! Messages in HTTP bodies as gRPC frames them: a flag, four bytes of length, the message.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;

const HEADER: usize = 5;
/// Largest message of a service; what services may send is less.
const LARGEST: usize = 16 * 1024 * 1024;

/// Frames one message.
pub(crate) fn encode(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + message.len());
    frame.put_u8(0);
    // Bounded by the method's max_request_bytes, which is a u32.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}

/// Why no more messages can be read.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Not gRPC framing, compressed, too large, or without a status.
    Framing,
    /// The connection failed.
    Transport,
}

/// The messages of an answer, one after the other; dropping a read loses nothing.
pub(crate) struct Messages {
    headers: HeaderMap,
    body: Body,
    buffer: BytesMut,
    trailers: Option<HeaderMap>,
    is_over: bool,
}

impl Messages {
    pub(crate) fn new(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { headers: parts.headers, body, buffer: BytesMut::new(), trailers: None, is_over: false }
    }

    /// Metadata the answer began with.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next message; `None` at the end, when [`Self::status`] says how it ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.is_over {
                return if self.buffer.is_empty() { Ok(None) } else { Err(Broken::Framing) };
            }
            match self.body.frame().await {
                None => self.is_over = true,
                Some(Err(status)) => return self.interrupted(&status),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// A body that fails with a status of its own ends with it, as if it had come in the trailers.
    fn interrupted(&mut self, status: &Status) -> Result<Option<Bytes>, Broken> {
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            return Err(Broken::Transport);
        }
        self.trailers = Some(trailers);
        self.is_over = true;
        self.buffer.clear();
        Ok(None)
    }

    fn take(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.buffer.len() < HEADER {
            return Ok(None);
        }
        let length = u32::from_be_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        // We never offer a compression, so a compressed message is a mistake.
        if self.buffer[0] != 0 || length > LARGEST {
            return Err(Broken::Framing);
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// How the answer ended; `None` when it did not say.
    pub(crate) fn status(&self) -> Option<Status> {
        self.trailers.as_ref().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&self.headers))
    }
}
