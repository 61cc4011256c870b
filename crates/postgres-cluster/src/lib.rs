//! A throwaway PostgreSQL cluster, made from the machine's own binaries: for tests and for runs
//! of the harness that bring no database of their own.
//!
//! It is reached over a Unix socket in its own folder alone, under a password that is made for
//! it. PostgreSQL refuses to run as root, so root hands it to another user. Everything runs
//! under `supervise`, so that no death of this process leaves anything of it running.

mod binaries;
mod cluster;
mod error;
mod folder;

pub use binaries::Binaries;
pub use cluster::{Cluster, Options};
pub use error::ClusterError;
