//! The server and the client over real sockets.

#[cfg(unix)]
mod child;
mod client;
mod drain;
mod health;
mod limits;
mod problems;
mod support;
