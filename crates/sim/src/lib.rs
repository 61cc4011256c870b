//! The batch pipeline in virtual time: the same rules, dispatcher and agents' side as
//! in production, over the memory engine, with simulated agents and a LiveKit that
//! loses, doubles and delays, one seed = one history.
//!
//! Every request and every loop of every server is a task, and every call of the store
//! takes time before and after the moment at which it happens. So whatever can come
//! between a read and the change that was decided on it does, in some seed; and a server
//! can die between any two steps. The seed decides all of it.

mod agent;
mod bounds;
mod clock;
mod config;
mod faults;
mod fold;
mod guards;
mod judge;
mod livekit;
mod mutant;
mod oracle;
mod orders;
mod policy;
mod run;
mod server;
mod shrink;
mod store;
mod sweep;
mod task;
mod world;

pub use config::{Config, Outcome};
pub use faults::{Fault, FaultClass, Faults, Selection, Struck};
pub use mutant::Mutant;
pub use orders::{Order, Orders};
pub use policy::{Gap, Policy};
pub use run::{run, run_on};
pub use shrink::{shrink, telling};
pub use sweep::{Case, Engines, Opened, Totals, memory, sweep};
