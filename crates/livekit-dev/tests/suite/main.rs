//! The server and the worker SDK against each other, over real sockets.

mod jobs;
mod support;
