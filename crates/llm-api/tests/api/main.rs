//! The worker's HTTP surface over real sockets, with a model of one rule.

mod alphabet;
mod answers;
mod away;
mod beats;
mod errors;
mod jobs;
mod key;
mod load;
mod long;
mod rig;
mod status;
mod streams;
