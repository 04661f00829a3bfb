//! Tests of the system as a whole, in one binary: its house rules here, everything that runs it beside them.

mod chaos;
mod house;
mod journey;
mod matrix;
