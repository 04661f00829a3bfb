//! Temporary target while neighbours' modules do not compile; goes away.
mod chaos;
mod journey;
