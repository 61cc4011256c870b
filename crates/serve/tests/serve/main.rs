//! The server and the client over real sockets.

mod child;
mod client;
mod drain;
mod health;
mod limits;
mod problems;
mod support;
