use std::time::Duration;

use fault::{Fault, Kind};
use tonic::Status;
use tower::BoxError;
use tower::load_shed::error::Overloaded;

use super::Response;

/// Turns what a layer refused into a gRPC answer; nothing below a stack fails in any other way.
pub(crate) fn answer(result: Result<Response, BoxError>) -> Result<Response, BoxError> {
    Ok(result.unwrap_or_else(|error| refusal(fault_of(error))))
}

/// A gRPC answer of only headers that says what went wrong.
pub(crate) fn refusal(fault: Fault) -> Response {
    Status::from(fault).into_http()
}

fn fault_of(error: BoxError) -> Fault {
    match error.downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(error) if error.is::<Overloaded>() => {
            metrics::counter!("grpc_server_shed_total").increment(1);
            Fault::new(Kind::Exhausted, "OVERLOADED", "too many calls at once").retry_after(Duration::from_secs(1))
        }
        Err(error) => Fault::internal(error),
    }
}
