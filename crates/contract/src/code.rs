use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::ExitCode;
use crate::mask::{pointer_without_numbers, without_numbers};

/// The registry: every failure that a user can meet has one line here, whether it
/// reaches them over HTTP, on a terminal or in the docs.
macro_rules! registry {
    ($($variant:ident = $code:literal, $status:literal, $exit:ident, $title:literal, $hint:literal;)+) => {
        /// A stable code for a failure that a user can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $(#[doc = $title] #[serde(rename = $code)] $variant,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as users see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// HTTP status of the problem; 0 for codes that HTTP never carries.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Exit code of a harness command that ends for this reason.
            pub const fn exit(self) -> ExitCode {
                match self { $(Self::$variant => ExitCode::$exit,)+ }
            }

            /// What the code means, as a lower-case fragment.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What to do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        // Those that HTTP never carries belong to the harness.
        let carried = Self::ALL.iter().filter(|code| code.status() != 0);
        crate::wire::spellings("What went wrong.", carried.map(|code| code.as_str()))
    }
}

impl ToSchema for ErrorCode {}

registry! {
    // Requests.
    NotJson = "not_json", 400, CheckFailed, "the body is not JSON", "send a JSON object; check for a trailing comma or an empty body";
    BadRequest = "bad_request", 400, CheckFailed, "the request cannot be read", "compare the request with the API reference";
    Unauthorized = "unauthorized", 401, CheckFailed, "the credentials are missing or wrong", "send `Authorization: Bearer ..` with a key or capability that is valid here";
    BadCapability = "bad_capability", 401, CheckFailed, "the capability is not valid for this call", "use the capability from this attempt's dispatch metadata, unchanged";
    NotFound = "not_found", 404, CheckFailed, "there is no such thing here", "check the id, and that the key belongs to the tenant that owns it";
    ReportNotReady = "report_not_ready", 404, CheckFailed, "the report is written when the batch has ended", "follow the batch's status until it is `completed`";
    MethodNotAllowed = "method_not_allowed", 405, CheckFailed, "the path does not take this method", "compare the request with the API reference";
    RequestTimeout = "request_timeout", 408, CheckFailed, "the request was not sent in time", "send headers and body without long pauses";
    AlreadyClaimed = "already_claimed", 409, CheckFailed, "another agent holds the dial claim of this attempt", "do not ring the callee; leave the room";
    StaleAttempt = "stale_attempt", 409, CheckFailed, "the attempt is no longer the current one", "do not ring the callee; leave the room";
    NotClaimed = "not_claimed", 409, CheckFailed, "the dial of this attempt was never claimed", "claim the dial before ringing, heartbeats and the outcome";
    OutcomeConflict = "outcome_conflict", 409, CheckFailed, "the attempt has ended with another outcome", "keep the recorded outcome; it is final";
    StateConflict = "state_conflict", 409, CheckFailed, "the present state does not allow this", "look at the state that the message names";
    NothingToRetry = "nothing_to_retry", 409, CheckFailed, "no entry of the batch failed", "look at the report: only failed entries are called again";
    IdempotencyConflict = "idempotency_conflict", 409, CheckFailed, "the idempotency key was used with another body", "use a new key for a new request";
    Cancelled = "cancelled", 410, CheckFailed, "the call was cancelled", "do not ring the callee; leave the room";
    TooLarge = "too_large", 413, CheckFailed, "the body is larger than this path takes", "send less, or send it in parts";
    UnsupportedType = "unsupported_type", 415, CheckFailed, "the content type is not taken here", "send `Content-Type: application/json`";
    Invalid = "invalid", 422, CheckFailed, "a field is not valid", "correct the fields that `errors` names";
    TooManyStreams = "too_many_streams", 429, CheckFailed, "the tenant has as many event streams open as it may", "close a stream, or follow the batch with `GET /batch/batch-status/{batch_id}?wait=20s`";
    Internal = "internal", 500, CheckFailed, "the platform failed", "look for the request id in the server's log";
    Overloaded = "overloaded", 503, CheckFailed, "the platform takes no more work now", "try again after `Retry-After` seconds";
    StorageFull = "storage_full", 507, Environment, "the platform has no disk space left", "nothing was written: free space on the data directory's disk, then try again";
    NotReady = "not_ready", 503, NotReady, "the service cannot take work yet", "look at `reasons`, and at the service's log";
    // Runs of the harness.
    CheckFailed = "check_failed", 0, CheckFailed, "a check did not hold", "open the run folder: events.jsonl has every step, *.log every process";
    WrongCounts = "wrong_counts", 0, CheckFailed, "the batch ended with other counts than planned", "open the run folder: events.jsonl has every step, *.log every process";
    InvariantBroken = "invariant_broken", 0, CheckFailed, "an invariant of the pipeline does not hold", "run the same command with the printed --seed to see it again";
    NotBusy = "not_busy", 0, CheckFailed, "a kill or a cancel met no batch at work", "raise --total or lower --max-concurrent, or choose an earlier moment";
    Usage = "usage", 0, Usage, "the command line is wrong", "run the command with --help";
    ChildExited = "child_exited", 0, NotReady, "a process of the stack ended before it should", "read its last lines above, or its whole log in the run folder";
    ReadyTimeout = "ready_timeout", 0, NotReady, "a process of the stack was not ready in time", "read its log in the run folder, or raise --timeout";
    NoWorker = "no_worker", 0, NotReady, "no worker of the needed name takes jobs", "start the worker under that name, and look for it in `seen`";
    WorkerSilent = "worker_silent", 0, NotReady, "the worker is registered but answers no job", "look at the worker's process state and log";
    TargetLost = "target_lost", 0, NotReady, "the system under test no longer answers", "read its log in the run folder";
    NothingTested = "nothing_tested", 0, Skipped, "nothing was tested", "read the reason of each skip; --require makes a skip a failure";
    WrongAnswer = "wrong_answer", 0, CheckFailed, "the worker answered otherwise than it must", "compare what was expected and what came; the worker's log is in the run folder";
    StreamBroken = "stream_broken", 0, CheckFailed, "a stream ended early or cannot be read", "read the worker's log in the run folder";
    SlotLeaked = "slot_leaked", 0, CheckFailed, "a cancelled request still holds its slot", "look at /slots, and at the worker's log in the run folder";
    NoHeartbeat = "no_heartbeat", 0, CheckFailed, "the hive did not get the heartbeats that it must get", "look at --hive-url and at the worker's log in the run folder";
    NoDevice = "no_device", 0, Skipped, "the backend has no device on this machine", "use --backend cpu, or run on a machine that has one; --require makes this a failure";
    ModelNotFound = "model_not_found", 0, Environment, "there is no such model", "give --model a GGUF file, or drop it to use the built-in model";
    ModelInvalid = "model_invalid", 0, Environment, "the model file cannot be used", "fetch the file again and compare its size and sha256 with its source";
    ModelUnsupported = "model_unsupported", 0, Environment, "the engine does not run models of this kind", "build llm-worker with `--features llama-cpp`, which runs more architectures and formats";
    BackendNotBuilt = "backend_not_built", 0, Environment, "this llm-worker was built without the backend", "drop --bin-dir so that it is built, or build it with the backend's feature (docs/backends.md)";
    ToolMissing = "tool_missing", 0, Environment, "a tool that the backend is built with is missing", "install what the message names (docs/backends.md)";
    DownloadFailed = "download_failed", 0, Environment, "the download did not succeed", "check the network, or give --from a file that was fetched elsewhere";
    ChecksumMismatch = "checksum_mismatch", 0, Environment, "the file is not the one that was asked for", "fetch it again; nothing was replaced";
    AudioUnreadable = "audio_unreadable", 0, CheckFailed, "a recording cannot be read", "open it in an audio editor; export it again as 16-bit WAV with two channels";
    AudioMono = "audio_mono", 0, Skipped, "a recording has one channel for both sides", "record dual-channel; from Twilio, fetch it with RequestedChannels=2";
    AudioChannels = "audio_channels", 0, Skipped, "a recording has more than two channels", "keep the caller's and the agent's channel, and leave the others out";
    TwilioCredentials = "twilio_credentials", 0, Environment, "Twilio's credentials are missing or wrong", "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, both from the console's first page";
    TwilioFailed = "twilio_failed", 0, Environment, "Twilio did not answer as it should", "try again later; what was fetched is kept and not fetched again";
    NoRecordings = "no_recordings", 0, Skipped, "there are no recordings to analyse", "name the calls with --manifest, or the days with --since and --until";
    Environment = "environment", 0, Environment, "the environment does not allow the run", "correct what the message names";
    BuildFailed = "build_failed", 0, Environment, "the workspace did not build", "read the compiler's messages above";
    PortTaken = "port_taken", 0, Environment, "the address is in use", "drop the port flag to use a free port, or stop its owner";
    MachineTooSlow = "machine_too_slow", 0, Environment, "the machine was too slow for the run to mean anything", "close other work, or run with a smaller --time-scale or --max-concurrent";
    RemoteRefused = "remote_refused", 0, Environment, "a remote target is used only when asked for by name", "add --yes-remote if you mean it";
    DataDirBusy = "data_dir_busy", 0, Environment, "another server owns the data directory", "stop the process that the message names, or choose another --data-dir";
    ThresholdCrossed = "threshold_crossed", 0, Threshold, "a threshold was crossed", "look at what the slowest turns have in common, or set the threshold to what is good enough";
    Leaked = "leaked", 0, Leaked, "something was left behind", "look at the processes that the message names";
    RunDeadline = "run_deadline", 0, Deadline, "the run took longer than its deadline", "raise --deadline, or look at what the last step was waiting for";
    Interrupted = "interrupted", 0, Interrupted, "the run was interrupted", "the result is partial; run the command again";
}

/// One field that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer to the field (RFC 6901).
    pub pointer: String,
    /// Row of an uploaded list, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// What is wrong, as a stable code: `unknown_field`, `missing`, `out_of_range`, ...
    pub code: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// An RFC 9457 problem, as every error of every HTTP surface looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: ErrorCode,
    /// What happened here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The fields that are not valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Rows of an upload that are not valid, those that `errors` does not list included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u32>,
}

impl Problem {
    /// The problem for `code`, with what happened here, but for phone numbers.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind: format!("/problems/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: without_numbers(&detail).into_owned(),
            hint: code.hint().to_owned(),
            errors: Vec::new(),
            rejected: None,
        }
    }

    /// A 422 that names the first of `bad` rows, of `all` that an upload has.
    pub fn bad_rows(bad: u32, all: u32, first: Vec<FieldError>) -> Self {
        let shown = first.len();
        let detail = format!("{bad} of {all} rows are not valid; {shown} of them are listed");
        Self { errors: first, rejected: Some(bad), ..Self::new(ErrorCode::Invalid, detail) }
    }

    /// A 422 that names the fields.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail =
            errors.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect::<Vec<_>>();
        Self { errors, ..Self::new(ErrorCode::Invalid, detail.join("; ")) }
    }
}

impl FieldError {
    /// A field error outside any list. It repeats no phone number, whatever was sent.
    pub fn new(pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        let pointer = pointer_without_numbers(&pointer.into());
        let detail = without_numbers(&detail.into()).into_owned();
        Self { pointer, row: None, code: code.to_owned(), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_spelled_once_and_tells_what_to_do() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code:?} is spelled twice");
            assert!(!code.hint().is_empty() && !code.title().ends_with('.'), "{code:?}");
            assert!(code.status() == 0 || (400..600).contains(&code.status()), "{code:?}");
        }
    }
}
