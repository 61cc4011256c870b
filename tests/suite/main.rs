//! Dialtone from the outside: real processes, real HTTP, real command lines.

mod access;
mod agent;
mod canary;
mod config;
mod crash;
mod data_dir;
mod disk;
mod eyes;
mod faults;
mod idempotency;
mod live;
mod pipeline;
mod reads;
mod scripted;
mod trigger;
mod worker;
mod worker_test;
mod xtask;
