//! What the tests of the whole system share with the small tools beside them.

pub mod requirements;
