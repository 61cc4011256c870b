//! The server and the worker SDK against each other, over real sockets.

mod dispatches;
mod grants;
mod jobs;
mod rooms;
mod sdk;
mod support;
mod webhooks;
mod wire;
mod workers;
