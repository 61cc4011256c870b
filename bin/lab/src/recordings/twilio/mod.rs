//! Recordings of a tagged run from Twilio, each fetched once.

mod account;
mod cache;
mod client;
mod listing;
mod manifest;
mod tag;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;

use self::account::Account;
use self::cache::Cache;
use self::client::{Client, Refused};
use self::listing::{Recording, State};
use crate::failure::Failure;

/// Recordings fetched at once: Twilio answers more with 429.
const AT_ONCE: usize = 4;
/// The wait before a second attempt.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at a recording that is not complete.
const LOOK: Duration = Duration::from_secs(2);

/// Which recordings, and of whom. The token comes from TWILIO_AUTH_TOKEN or a file.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Twilio")]
#[group(id = "twilio")]
pub struct Args {
    /// The run whose recordings are fetched.
    #[arg(long, value_name = "TAG", env = "RUN_TAG", default_value = "loadtest")]
    pub tag: String,
    /// What wrote down which call belonged to which run: lines `tag,call_sid`, or JSON lines with
    /// run_tag and call_sid.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Where neither the manifest nor names of conferences say which: from this day on.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub since: Option<String>,
    /// Likewise, up to this day.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub until: Option<String>,
    /// The account. Absent: TWILIO_ACCOUNT_SID.
    #[arg(long, value_name = "SID")]
    pub account_sid: Option<String>,
    /// A file with the account's token. Absent: TWILIO_AUTH_TOKEN, or the file that
    /// TWILIO_AUTH_TOKEN_FILE names.
    #[arg(long, value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,
    /// Where the API is.
    #[arg(
        long,
        value_name = "URL",
        env = "TWILIO_BASE_URL",
        default_value = "https://api.twilio.com"
    )]
    pub twilio_url: String,
    /// Where fetched recordings are kept.
    #[arg(long, value_name = "DIR", default_value = "target/xtask/recordings")]
    pub cache: PathBuf,
    /// How long to wait for recordings that Twilio has not finished, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub wait: u64,
}

fn day(text: &str) -> Result<String, String> {
    let day: jiff::civil::Date = text.parse().map_err(|error| format!("{error}"))?;
    Ok(day.to_string())
}

/// A recording that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// `RE..`
    pub recording_sid: String,
    /// `CA..`, the call of its first channel.
    pub call_sid: Option<String>,
    /// Whether it was here before.
    pub cached: bool,
}

/// What came of fetching the recordings of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Those that are here, in the order of their sids.
    pub fetched: Vec<Fetched>,
    /// Those that are not, with the reason.
    pub left_out: Vec<(String, String)>,
    /// By what they were found, for the report.
    pub found_by: String,
}

/// Fetches the recordings of a run.
pub fn fetch(args: &Args) -> Result<Run, Failure> {
    let account = Account::find(
        args.account_sid.as_deref(),
        args.auth_token_file.as_deref(),
        &args.twilio_url,
    )?;
    fetch_with(&Client::new(account, PAUSE), args)
}

fn fetch_with(client: &Client, args: &Args) -> Result<Run, Failure> {
    let cache = Cache::open(&args.cache)?;
    let (listed, way) = tag::resolve(client, args, &args.tag)?;
    let until = Instant::now() + Duration::from_secs(args.wait);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(listed.len()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(listed.len()) {
            scope.spawn(|| {
                while let Some(recording) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let came = bring(client, &cache, recording.clone(), until);
                    if came.is_err() {
                        next.store(listed.len(), Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(|broken| broken.into_inner()).push(came);
                }
            });
        }
    });
    let mut run = Run { fetched: Vec::new(), left_out: Vec::new(), found_by: way.to_string() };
    for came in done.into_inner().unwrap_or_else(|broken| broken.into_inner()) {
        match came {
            Ok(Came::Here(fetched)) => run.fetched.push(fetched),
            Ok(Came::LeftOut(sid, why)) => run.left_out.push((sid, why)),
            // Wrong credentials and a full disk are no fault of one recording.
            Err(failure) => return Err(failure),
        }
    }
    run.fetched.sort_by(|a, b| a.recording_sid.cmp(&b.recording_sid));
    run.left_out.sort();
    Ok(run)
}

/// What came of one recording.
enum Came {
    Here(Fetched),
    LeftOut(String, String),
}

fn bring(
    client: &Client,
    cache: &Cache,
    mut recording: Recording,
    until: Instant,
) -> Result<Came, Failure> {
    let sid = recording.sid.clone();
    loop {
        match recording.state() {
            State::Ready => break,
            State::Unusable(why) => return Ok(Came::LeftOut(sid, why)),
            State::Pending if Instant::now() >= until => {
                let why = format!("still {} (--wait waits longer)", recording.status);
                return Ok(Came::LeftOut(sid, why));
            }
            State::Pending => {
                thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
                recording = match client.recording(&sid) {
                    Ok(recording) => recording,
                    Err(Refused::Absent) => {
                        return Ok(Came::LeftOut(sid, "Twilio no longer has it".to_owned()));
                    }
                    Err(Refused::Failed(failure)) => return Err(failure),
                };
            }
        }
    }
    let here = |path, cached| {
        let call_sid = recording.call_sid.clone();
        Ok(Came::Here(Fetched { path, recording_sid: sid.clone(), call_sid, cached }))
    };
    if cache.has(&sid) {
        return here(cache.path(&sid), true);
    }
    let part = cache.part(&sid);
    // Both channels apart, whatever the recording was asked as.
    let url = client.account.address(&format!("Recordings/{sid}.wav?RequestedChannels=2"));
    match client.download(&url, || cache.create(&part)) {
        Ok(0) => {
            let _ = fs::remove_file(&part);
            Ok(Came::LeftOut(sid.clone(), "Twilio sent nothing".to_owned()))
        }
        Ok(_) => here(cache.keep(&part, &sid)?, false),
        Err(refused) => {
            let _ = fs::remove_file(&part);
            match refused {
                Refused::Absent => {
                    let why = "listed, but its sound is not there (404)".to_owned();
                    Ok(Came::LeftOut(sid.clone(), why))
                }
                // One recording that cannot be had does not stop the others.
                Refused::Failed(failure) if failure.code == ErrorCode::TwilioFailed => {
                    Ok(Came::LeftOut(sid.clone(), failure.message))
                }
                Refused::Failed(failure) => Err(failure),
            }
        }
    }
}
