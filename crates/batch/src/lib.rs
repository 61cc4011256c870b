//! The batch pipeline: intake, rules, dispatcher, the agents' side of a call, report
//! and verification. It decides; stores compare and swap, LiveKit carries.
//!
//! ```text
//!  trigger -> Intake -> [store] <- Dispatcher -> LiveKit -> agent
//!                          ^                                  |
//!                          +------------ Calls <--------------+
//! ```

mod again;
mod breaker;
mod calls;
mod control;
mod detail;
mod dispatcher;
mod explain;
mod housekeeping;
mod intake;
mod metrics;
mod options;
mod outbox;
mod pages;
mod plan;
pub mod policy;
mod report;
mod rules;
mod specs;
mod status;
mod suppression;
pub mod upload;
mod verify;
mod webhook;

pub use calls::{CallError, Calls};
pub use control::{Control, ControlError, Controlled, check_limits};
pub use detail::{Look, entry_detail};
pub use dispatcher::{Claims, Dispatcher, DispatcherOptions, Leased, Trouble};
pub use explain::{Around, Facts, explain};
pub use housekeeping::Housekeeping;
pub use intake::{Intake, IntakeError, LiveTriggered, Triggered};
pub use metrics::BatchMetrics;
pub use outbox::OutboxSender;
pub use plan::{number, outcomes};
pub use report::{CSV_HEADER, Reporter, csv_rows};
pub use rules::{Happening, Illegal, Rules, WhileWaiting};
pub use status::{batch_status, entry_view, event_view};
pub use suppression::SuppressionList;
pub use verify::{Invariant, Invariants, verify};
pub use webhook::{
    Delivery, UrlError, WebhookClient, WebhookMetrics, WebhookSender, check_url, is_forbidden,
};
