//! What the API answers to an order or a report, said once more and in other words: from
//! what a client saw of the batch before it asked.

use serde_json::Value;

/// Status, and `applied` of a success or `code` of a problem. `None`: the answer has none.
pub type Expected = (u16, Option<bool>, Option<&'static str>);

const fn done(applied: bool) -> Expected {
    (200, Some(applied), None)
}

const fn refused(status: u16, code: &'static str) -> Expected {
    (status, None, Some(code))
}

const CONFLICT: Expected = refused(409, "state_conflict");
const NOT_FOUND: Expected = refused(404, "not_found");

/// An order to the whole batch.
#[derive(Clone, Copy)]
pub enum Order {
    Pause,
    Resume,
    Cancel { hangup: bool },
}

/// `hung_up` is whether a cancel has asked before for calls to be hung up.
pub fn order(order: Order, batch: &str, hung_up: bool) -> Expected {
    match (order, batch) {
        (Order::Pause, "paused") | (Order::Resume, "accepted" | "running") => done(false),
        (Order::Pause, "accepted" | "running") | (Order::Resume, "paused") => done(true),
        (Order::Cancel { .. }, "accepted" | "running" | "paused") => done(true),
        (Order::Cancel { hangup }, "cancelling") => done(hangup && !hung_up),
        (Order::Cancel { .. }, "cancelled") => done(false),
        _ => CONFLICT,
    }
}

/// A change of limits that are valid; `changes` is whether they are not so already.
pub fn limit(batch: &str, changes: bool) -> Expected {
    match batch {
        "accepted" | "running" | "paused" => done(changes),
        _ => CONFLICT,
    }
}

/// `failed` entries of the batch have failed.
pub fn retry(batch: &str, failed: u64) -> Expected {
    match batch {
        "completed" | "cancelled" | "failed" if failed == 0 => refused(409, "nothing_to_retry"),
        "completed" | "cancelled" | "failed" => (202, None, None),
        _ => CONFLICT,
    }
}

pub fn cancel_entry(entry: &Value) -> Expected {
    match state(entry) {
        "cancelled" => done(false),
        "completed" | "failed" => CONFLICT,
        _ => done(true),
    }
}

/// The dial claim of the entry's first attempt; `won` is who has won it before.
pub fn claim(batch: &str, entry: &Value, won: Option<&str>, claimer: &str) -> Expected {
    match state(entry) {
        _ if !called(entry) => NOT_FOUND,
        "cancelled" => refused(410, "cancelled"),
        "leased" | "dispatched" if batch.starts_with("cancel") => refused(410, "cancelled"),
        "leased" | "dispatched" => (200, None, None),
        "claimed" | "in_call" if won == Some(claimer) => (200, None, None),
        "claimed" | "in_call" => refused(409, "already_claimed"),
        _ => refused(409, "stale_attempt"),
    }
}

/// A heartbeat; a success says in `continue` whether the call goes on.
pub fn beat(entry: &Value) -> (Expected, bool) {
    match state(entry) {
        _ if !called(entry) => (NOT_FOUND, false),
        "leased" | "dispatched" => (refused(409, "not_claimed"), false),
        now => ((200, None, None), matches!(now, "claimed" | "in_call")),
    }
}

/// Where the call stands; `closed` is whether its end was reported before.
pub fn status(entry: &Value, status: &str, closed: bool) -> Expected {
    match (state(entry), status) {
        _ if !called(entry) => NOT_FOUND,
        ("leased" | "dispatched", _) => refused(409, "not_claimed"),
        ("claimed" | "in_call", _) if closed => done(false),
        ("claimed" | "in_call", "ringing") | ("in_call", "in_call") => done(false),
        ("claimed" | "in_call", _) => done(true),
        _ => refused(409, "stale_attempt"),
    }
}

/// The outcome of the entry's first attempt, as a report that names attempt `attempt`.
pub fn complete(entry: &Value, attempt: u32, outcome: &str) -> Expected {
    match state(entry) {
        _ if !called(entry) || attempt != 1 => NOT_FOUND,
        "cancelled" => done(false),
        "leased" | "dispatched" => refused(409, "not_claimed"),
        "claimed" | "in_call" => done(true),
        _ if entry["outcome"] == outcome => done(false),
        _ => refused(409, "outcome_conflict"),
    }
}

fn state(entry: &Value) -> &str {
    entry["state"].as_str().expect("a state")
}

fn called(entry: &Value) -> bool {
    !entry["attempts"].as_array().expect("attempts").is_empty()
}
