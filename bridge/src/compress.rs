//! Which answers are sent compressed.

use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, NotForContentType, Predicate as _, SizeAbove};

/// Below this, a packet carries the answer whole whether it is compressed or not.
const WORTHWHILE_BYTES: u16 = 1024;

type Worthwhile = And<And<And<SizeAbove, NotForContentType>, NotForContentType>, NotForContentType>;

/// Compresses what is large, with zstd or gzip as the client prefers.
///
/// Never streams, whose events a compressor would hold back, and no images. The version in `ETag` stays as it is: it is
/// the resource's, and If-Match takes only strong ones.
pub(crate) fn layer() -> CompressionLayer<Worthwhile> {
    let worthwhile = SizeAbove::new(WORTHWHILE_BYTES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::IMAGES);
    // Higher levels take little more off JSON and much more of the cores.
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worthwhile)
}
