use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use fault::Fault;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::Response;
use super::deadline::expired;

/// A streamed answer that ends at its deadline, and when the process drains.
pub(crate) struct Bounded {
    inner: tonic::body::Body,
    deadline: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl Bounded {
    pub(crate) fn wrap(response: Response, deadline: Instant, closing: CancellationToken) -> Response {
        response.map(|inner| {
            tonic::body::Body::new(Self {
                inner,
                deadline: Box::pin(tokio::time::sleep_until(deadline.into())),
                closing: Box::pin(closing.cancelled_owned()),
                ended: false,
            })
        })
    }

    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(Status::from(fault).add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Before the next frame: a stream that always has one would never end.
        if self.deadline.as_mut().poll(cx).is_ready() {
            return self.end(expired());
        }
        if self.closing.as_mut().poll(cx).is_ready() {
            return self.end(Fault::unavailable("SHUTTING_DOWN", "the server is going away; call again"));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}
