use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use dialtone_auth::Secret;
use dialtone_contract::ErrorCode;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::http::header::{AUTHORIZATION, RETRY_AFTER};
use ureq::{Agent, Body};

use super::account::Account;
use crate::agent::agent;
use crate::failure::Failure;

/// Attempts at one request.
const ATTEMPTS: u32 = 5;
/// The longest wait that an answer may ask for before the next attempt.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A list of a thousand recordings has about one million bytes.
const LIST_MAX: u64 = 32 * 1024 * 1024;
/// A recording: a day of two channels of 16 bits.
const MEDIA_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Talks to the API: signed in, patient, and never to another host than the account's.
pub struct Client {
    /// Whose recordings they are.
    pub account: Account,
    /// The wait before the second attempt; it doubles from one to the next.
    pub pause: Duration,
    agent: Agent,
    authorization: Secret,
}

/// Why a request failed for good.
#[derive(Debug)]
pub enum Refused {
    /// There is no such thing, after all attempts.
    Absent,
    /// Something else.
    Failed(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Absent => {
                Self::new(ErrorCode::TwilioFailed, "Twilio knows nothing under this address")
            }
            Refused::Failed(failure) => failure,
        }
    }
}

/// What came of one attempt.
enum Attempt<T> {
    Done(T),
    /// Another one may do better, after at least so long.
    Again(String, Option<Duration>),
    Absent,
    Failed(Failure),
}

impl Client {
    /// A client of this account that waits so long before a second attempt.
    pub fn new(account: Account, pause: Duration) -> Self {
        let authorization = account.authorization();
        Self { account, pause, agent: agent(), authorization }
    }

    /// A document.
    pub fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, Refused> {
        self.patiently(url, |mut response| {
            let text = response.body_mut().with_config().limit(LIST_MAX).read_to_string();
            match text {
                Ok(text) => match serde_json::from_str(&text) {
                    Ok(document) => Attempt::Done(document),
                    Err(error) => Attempt::Failed(failed(url, error)),
                },
                Err(error) => Attempt::Again(error.to_string(), None),
            }
        })
    }

    /// Writes what is there to what `open` gives, which begins anew with each attempt; how many
    /// bytes they were.
    pub fn download<W: Write>(
        &self,
        url: &str,
        mut open: impl FnMut() -> io::Result<W>,
    ) -> Result<u64, Refused> {
        self.patiently(url, |mut response| {
            let mut file = match open() {
                Ok(file) => file,
                Err(error) => return Attempt::Failed(disk(error)),
            };
            let mut body = response.body_mut().with_config().limit(MEDIA_MAX).reader();
            let mut chunk = vec![0; CHUNK];
            let mut bytes = 0;
            loop {
                let read = match body.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) => return Attempt::Again(error.to_string(), None),
                };
                if let Err(error) = file.write_all(chunk.get(..read).unwrap_or_default()) {
                    return Attempt::Failed(disk(error));
                }
                bytes += read as u64;
            }
            match file.flush() {
                Ok(()) => Attempt::Done(bytes),
                Err(error) => Attempt::Failed(disk(error)),
            }
        })
    }

    /// Asks until it is answered, or until there is no more sense in it.
    fn patiently<T>(
        &self,
        url: &str,
        mut take: impl FnMut(Response<Body>) -> Attempt<T>,
    ) -> Result<T, Refused> {
        let mut attempt = 1;
        loop {
            let (why, asked) = match self.ask(url, &mut take) {
                Attempt::Done(value) => return Ok(value),
                Attempt::Failed(failure) => return Err(Refused::Failed(failure)),
                // A recording is announced before it can be had.
                Attempt::Absent if attempt >= ATTEMPTS => return Err(Refused::Absent),
                Attempt::Absent => ("it answered 404".to_owned(), None),
                Attempt::Again(why, asked) => (why, asked),
            };
            if attempt >= ATTEMPTS {
                let why = format!("{why} (given up after {attempt} attempts)");
                return Err(Refused::Failed(failed(url, why)));
            }
            let pause = self.pause * 2_u32.pow(attempt - 1);
            thread::sleep(pause.max(asked.unwrap_or_default()).min(PAUSE_MAX));
            attempt += 1;
        }
    }

    fn ask<T>(&self, url: &str, take: &mut impl FnMut(Response<Body>) -> Attempt<T>) -> Attempt<T> {
        let request = self.agent.get(url).header(AUTHORIZATION, self.authorization.expose());
        let response = match request.call() {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Tls(_))) => {
                return Attempt::Failed(failed(url, error));
            }
            Err(error) => return Attempt::Again(error.to_string(), None),
        };
        match response.status().as_u16() {
            200 => take(response),
            404 => Attempt::Absent,
            status @ (401 | 403) => Attempt::Failed(Failure::new(
                ErrorCode::TwilioCredentials,
                format!(
                    "{} refused the credentials of {} ({status})",
                    self.account.base, self.account.sid
                ),
            )),
            status @ (408 | 429 | 500..=599) => {
                let after = response.headers().get(RETRY_AFTER);
                let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Attempt::Again(format!("it answered {status}"), after.map(Duration::from_secs))
            }
            status => Attempt::Failed(failed(url, format!("it answered {status}"))),
        }
    }
}

/// A failure to get something. Addresses carry no secrets: the token is in a header.
fn failed(url: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::TwilioFailed, format!("{url}: {why}"))
}

fn disk(error: io::Error) -> Failure {
    Failure::environment("cannot write a recording", error)
}
