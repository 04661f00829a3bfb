//! Commands on orders against PostgreSQL, with a catalog and a policy that are known; no saga runs.

mod care;
mod changes;
mod customer;
mod draft;
mod heard;
mod placement;
mod retry;
mod sealed;
mod subscription;
mod world;
