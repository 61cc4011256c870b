//! The shared engine over a real server: opening, several servers at once, outages.

#[path = "../support/mod.rs"]
mod support;

mod opening;
mod outage;
mod servers;
