//! Every limit of the platform in one place, each with its reason.

use std::time::Duration;

const DAY_S: u32 = 24 * 3600;

/// Entries in one batch: what one claimer works off in minutes (design, section 10).
pub const ENTRIES_MAX: u32 = 1_000_000;
/// Entries written in one transaction while a batch loads, so that no single commit
/// holds the writer for long.
pub const LOAD_CHUNK: usize = 5_000;
/// Calls of one batch in flight at once, unless the batch says otherwise.
pub const MAX_CONCURRENT_DEFAULT: u32 = 50;
/// Calls of one batch in flight at once at most.
pub const MAX_CONCURRENT_MAX: u32 = 10_000;
/// Retries after the first attempt, unless the batch says otherwise.
pub const MAX_RETRIES_DEFAULT: u32 = 2;
/// Retries after the first attempt at most.
pub const MAX_RETRIES_MAX: u32 = 10;
/// Calls begun per second at least, if the batch bounds them: one in a thousand seconds.
pub const CALLS_PER_SECOND_MIN: f64 = 0.001;
/// Calls begun per second at most, if the batch bounds them: more than one dispatcher sends.
pub const CALLS_PER_SECOND_MAX: f64 = 10_000.0;
/// Story, in seconds: longest ramp of the rate; a day.
pub const RAMP_S_MAX: u32 = DAY_S;
/// Entries in a wave at most: a wave is leased in one claim.
pub const WAVE_MAX: u32 = CLAIM_MAX;
/// Story, in seconds: a wave that has not ended by then is followed by the next.
pub const WAVE_TIMEOUT_S_DEFAULT: u32 = 20 * 60;
/// Story, in seconds: longest time that a wave may be given; a day.
pub const WAVE_TIMEOUT_S_MAX: u32 = DAY_S;
/// Story, in seconds: between two looks at a wave.
pub const POLL_S_DEFAULT: u32 = 5;
/// Story, in seconds: longest time between two looks at a wave.
pub const POLL_S_MAX: u32 = 3600;
/// Story, in seconds: wait before the first retry, unless the batch says otherwise.
pub const BACKOFF_BASE_S_DEFAULT: u32 = 15;
/// Story, in seconds: longest wait before a retry, unless the batch says otherwise.
pub const BACKOFF_CAP_S_DEFAULT: u32 = 5 * 60;
/// Story, in seconds: no wait before a retry may be longer; a week.
pub const BACKOFF_S_MAX: u32 = 7 * DAY_S;
/// Each wait before a retry is at most so many times as long as the one before.
pub const BACKOFF_FACTOR_MAX: f64 = 10.0;
/// Story, in seconds: longest gap between two attempts at one number; thirty days.
pub const MIN_GAP_S_MAX: u32 = 30 * DAY_S;
/// Name of a time zone: the longest in the database has 32 characters.
pub const TIMEZONE_MAX: usize = 64;
/// Story, in seconds: for how long an ended attempt counts for the batch's breaker, unless
/// the batch says otherwise.
pub const BREAKER_WINDOW_S_DEFAULT: u32 = 5 * 60;
/// Story, in seconds: for how long an ended attempt counts at most; a day.
pub const BREAKER_WINDOW_S_MAX: u32 = DAY_S;
/// Ended attempts without which the batch's breaker judges nothing, unless the batch says
/// otherwise.
pub const BREAKER_ATTEMPTS_DEFAULT: u32 = 20;
/// Ended attempts that a breaker looks back on: what it keeps in memory for one batch.
pub const BREAKER_ATTEMPTS_MAX: u32 = 10_000;
/// Events that a dispatcher reads back when it sees a batch's breaker for the first time:
/// a thousand calls and more.
pub const BREAKER_EVENTS: u64 = 10_000;
/// Calls that a breaker names as evidence.
pub const BREAKER_EVIDENCE_MAX: usize = 20;
/// Story, in seconds: longest pause of a batch that resumes by itself; a day.
pub const BREAKER_RESUME_S_MAX: u32 = DAY_S;
/// Entries leased by one claim: measured optimum of the claim statement.
pub const CLAIM_MAX: u32 = 500;
/// Dispatches being created at LiveKit at once by one dispatcher.
pub const DISPATCHES_AT_ONCE: usize = 16;
/// Batches that a dispatcher looks at in one read: some megabytes of rows.
pub const BATCHES_MAX: u32 = 1_000;
/// Rows that a selector hands out at once.
pub const SELECT_MAX: u32 = 500;
/// Entries on one page of a listing.
pub const PAGE_MAX: u32 = 1_000;
/// Events of one entry are looked for among so many of its batch's at once: a few
/// milliseconds of reading. An index would slow down every event that is written.
pub const EVENTS_SCAN_MAX: u64 = 50_000;
/// Such stretches of a stream that are searched for an entry's last event, before it is
/// left unsaid.
pub const EVENTS_SCANS_MAX: usize = 20;
/// Event streams open at once in one process: an eighth of its connections, so that
/// watchers never keep agents out. A tenant may hold as many as it leaves free.
pub const STREAMS_MAX: usize = 128;
/// Events that a stream reads at once: about as much as a connection takes at once.
pub const STREAM_PAGE: u32 = 256;
/// Wire: a stream looks no sooner again, so that many commits make one look.
pub const STREAM_PAUSE: Duration = Duration::from_millis(100);
/// Wire: a quiet stream says so often that it lives.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// Examples of one kind in a report, which stays small however large its batch.
pub const REPORT_EXAMPLES: usize = 100;
/// Entries that one request for those in some state looks at: some tens of milliseconds
/// of reading. A page may then have fewer than asked for, and still a cursor.
pub const ENTRIES_SCAN_MAX: u32 = 50_000;
/// Body of a callback.
pub const CALLBACK_BODY_MAX: usize = 64 * 1024;
/// Body of any other request but a batch upload.
pub const BODY_MAX: usize = 1024 * 1024;
/// Body of a batch upload; it is kept on disk, not in memory.
pub const UPLOAD_BODY_MAX: u64 = 64 * 1024 * 1024;
/// Wall time in which an upload and the writing of its entries must be over: the largest
/// body at the slowest pace that is let through, and a million rows on a slow disk.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// One row of an upload as it is sent; a chunk of the largest ones still fits in memory.
pub const UPLOAD_ROW_MAX: usize = 32 * 1024;
/// Everything of a JSON upload but its entries: the metadata and little else.
pub const UPLOAD_HEAD_MAX: usize = 64 * 1024;
/// Columns of an uploaded table, more than any spreadsheet of contacts has.
pub const UPLOAD_COLUMNS_MAX: usize = 256;
/// `variables` of an entry, as JSON. They travel in dispatch metadata, of which LiveKit
/// takes 64 KB.
pub const VARIABLES_MAX: usize = 8 * 1024;
/// Name of a variable.
pub const VARIABLE_NAME_MAX: usize = 128;
/// Text that is kept of rows between two commits of a load, so that rows with large
/// variables do not add up.
pub const LOAD_CHUNK_BYTES: usize = 1024 * 1024;
/// Rejected rows that the answer to an upload lists; the rest is read page by page.
pub const REJECTS_SHOWN: usize = 100;
/// Numbers that one request may suppress; as many fit into its body.
pub const SUPPRESS_MAX: usize = 10_000;
/// Where suppressed numbers come from, in words.
pub const SUPPRESS_SOURCE_MAX: usize = 100;
/// `metadata` of a batch, as JSON.
pub const METADATA_MAX: usize = 16 * 1024;
/// An idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Wire: how long an idempotency key is remembered: two days, so that whoever tries again on
/// the next day still makes no second batch.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(2 * 24 * 3600);
/// Longest wait that a status request may ask for.
pub const STATUS_WAIT_MAX: Duration = Duration::from_secs(20);
/// Name of whoever claims a dial: a LiveKit job's id and then some.
pub const CLAIMER_MAX: usize = 200;
/// How long an agent may say that a call lasted, in milliseconds: a week, so that a
/// nonsense figure is refused and not stored.
pub const DURATION_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Free text of an agent (`reason`).
pub const REASON_MAX: usize = 500;

/// Guard: a lease; a dispatcher that has not recorded the dispatch by then is gone.
pub const LEASE: Duration = Duration::from_secs(10);
/// Guard: a dispatch that nobody has claimed by then is lost.
pub const UNCLAIMED: Duration = Duration::from_secs(30);
/// Guard: a claimed call rings no longer.
pub const RINGING: Duration = Duration::from_secs(60);
/// Guard: a call lasts no longer.
pub const IN_CALL: Duration = Duration::from_secs(15 * 60);
/// Guard: an agent that has sent no heartbeat for so long is gone.
pub const HEARTBEAT_LEASE: Duration = Duration::from_secs(30);
/// Guard: the callback of a closed call comes within.
pub const CALLBACK_GRACE: Duration = Duration::from_secs(10);
/// Guard: a due entry that could not be leased is looked at again.
pub const HELD_AGAIN: Duration = Duration::from_secs(5);
/// Story: longest talk of a simulated call, well within [`IN_CALL`].
pub const TEST_TALK_MAX: Duration = Duration::from_secs(14 * 60);
/// Story: longest time until a simulated call fails, well within [`RINGING`].
pub const TEST_FAIL_MAX: Duration = Duration::from_secs(45);
/// Dispatches that fail in a row before the dispatcher takes LiveKit for down.
pub const BREAKER_FAILURES: u32 = 5;
/// Wire: first pause before LiveKit is tried again with one dispatch; doubles.
pub const BREAKER_PAUSE: Duration = Duration::from_millis(250);
/// Wire: longest pause before LiveKit is tried again.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Times that an outbox item is sent before it is given up; rooms close by themselves
/// long before.
pub const OUTBOX_TRIES_MAX: u32 = 100;
/// Webhook messages under way at once in one process.
pub const WEBHOOKS_AT_ONCE: usize = 32;
/// Webhook messages under way at once to one endpoint: one that hangs leaves most places
/// to the others.
pub const WEBHOOK_AT_ONCE: usize = 4;
/// Messages that an endpoint does not take in a row before it is left alone for a while:
/// as many as are under way to it at once.
pub const WEBHOOK_FAILURES: u32 = 4;
/// Wire: how long an endpoint that fails is left alone first; doubles.
pub const WEBHOOK_REST: Duration = Duration::from_secs(1);
/// Wire: how long an endpoint that fails is left alone at most.
pub const WEBHOOK_REST_MAX: Duration = Duration::from_secs(60);
/// Wire: an endpoint answers within.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Answer of an endpoint that is read, in bytes; it is not kept.
pub const WEBHOOK_ANSWER_MAX: usize = 64 * 1024;
/// Wire: wait before a message is sent to a webhook again; doubles.
pub const WEBHOOK_BACKOFF: Duration = Duration::from_secs(1);
/// Wire: the longest such wait.
pub const WEBHOOK_BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);
/// Wire: a message that no endpoint has taken for so long is given up.
pub const WEBHOOK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Webhooks of one tenant: each is told of every entry of every batch.
pub const WEBHOOKS_MAX: usize = 10;
/// Wire: a process whose loop lags this much makes a run invalid.
pub const LOOP_LAG_MAX: Duration = Duration::from_millis(250);
