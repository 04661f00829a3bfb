//! How messages travel; one file each.

pub(crate) mod email;
