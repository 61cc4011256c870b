//! What can be seen of batches: their events, why an entry stands still, lists, reports, and
//! what endpoints are told.

mod events;
mod explain;
mod lists;
mod report;
mod webhooks;
