use std::collections::HashSet;
use std::fmt::Write as _;

use dialtone_contract::ErrorCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::account::is_sid;
use super::client::{Client, Refused};
use crate::failure::Failure;

/// Most that Twilio puts on one page.
const PAGE: u32 = 1_000;
/// Pages of one list: a million recordings, after which something is going in circles.
const PAGES_MAX: usize = 1_000;

/// A recording as Twilio lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Recording {
    /// `RE..`
    pub sid: String,
    /// The call of its first channel.
    pub call_sid: Option<String>,
    /// What has become of it.
    pub status: String,
    /// Why it is absent.
    pub error_code: Option<i64>,
    /// Set if it is encrypted with the account's own key.
    pub encryption_details: Option<serde_json::Value>,
}

/// What can be done with a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Fetch it.
    Ready,
    /// Ask again later: the call goes on, or Twilio is still at it.
    Pending,
    /// Nothing, for this reason.
    Unusable(String),
}

impl Recording {
    /// What can be done with it.
    pub fn state(&self) -> State {
        if !is_sid(&self.sid, "RE") {
            return State::Unusable("it has no proper sid".to_owned());
        }
        if self.encryption_details.as_ref().is_some_and(|details| !details.is_null()) {
            let why = "it is encrypted with the account's own key, which is not here";
            return State::Unusable(why.to_owned());
        }
        match self.status.as_str() {
            "completed" => State::Ready,
            "in-progress" | "paused" | "stopped" | "processing" => State::Pending,
            "absent" => State::Unusable(match self.error_code {
                Some(16101) => "absent: the call was too short to be recorded (16101)".to_owned(),
                Some(16102) => "absent: the call was silent (16102)".to_owned(),
                Some(code) => format!("absent: Twilio made no recording (error {code})"),
                None => "absent: Twilio made no recording".to_owned(),
            }),
            "deleted" => State::Unusable("it was deleted at Twilio".to_owned()),
            other => State::Unusable(format!("its status is {other:?}")),
        }
    }
}

/// A conference as Twilio lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Conference {
    /// `CF..`
    pub sid: String,
}

/// A page of a list.
trait Page: DeserializeOwned {
    type Item;
    fn split(self) -> (Vec<Self::Item>, Option<String>);
}

#[derive(Deserialize)]
struct Recordings {
    recordings: Vec<Recording>,
    next_page_uri: Option<String>,
}

impl Page for Recordings {
    type Item = Recording;
    fn split(self) -> (Vec<Recording>, Option<String>) {
        (self.recordings, self.next_page_uri)
    }
}

#[derive(Deserialize)]
struct Conferences {
    conferences: Vec<Conference>,
    next_page_uri: Option<String>,
}

impl Page for Conferences {
    type Item = Conference;
    fn split(self) -> (Vec<Conference>, Option<String>) {
        (self.conferences, self.next_page_uri)
    }
}

impl Client {
    /// The recordings that these filters leave.
    pub fn recordings(&self, filters: &[(&str, &str)]) -> Result<Vec<Recording>, Failure> {
        self.list::<Recordings>("Recordings.json", filters)
    }

    /// The conferences of this name.
    pub fn conferences(&self, name: &str) -> Result<Vec<Conference>, Failure> {
        self.list::<Conferences>("Conferences.json", &[("FriendlyName", name)])
    }

    /// The recordings of a conference.
    pub fn of_conference(&self, sid: &str) -> Result<Vec<Recording>, Failure> {
        if !is_sid(sid, "CF") {
            return Ok(Vec::new());
        }
        self.list::<Recordings>(&format!("Conferences/{sid}/Recordings.json"), &[])
    }

    /// How a recording stands now.
    pub fn recording(&self, sid: &str) -> Result<Recording, Refused> {
        self.json(&self.account.address(&format!("Recordings/{sid}.json")))
    }

    /// All pages of a list, by the address of the next one that each page gives.
    fn list<P: Page>(&self, path: &str, filters: &[(&str, &str)]) -> Result<Vec<P::Item>, Failure> {
        let mut url = format!("{}?PageSize={PAGE}", self.account.address(path));
        for (name, value) in filters {
            let _ = write!(url, "&{}={}", encoded(name), encoded(value));
        }
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let page: P = self.json(&url)?;
            let (found, next) = page.split();
            items.extend(found);
            seen.insert(url);
            let Some(next) = next else { return Ok(items) };
            // Relative, so that the credentials go to no other host.
            if !next.starts_with('/') || next.starts_with("//") {
                return Err(odd(&format!("its next page is elsewhere: {next:?}")));
            }
            url = format!("{}{next}", self.account.base);
            if seen.contains(&url) || seen.len() >= PAGES_MAX {
                return Err(odd(&format!("its pages do not end: {next:?} follows itself")));
            }
        }
    }
}

fn odd(why: &str) -> Failure {
    Failure::new(ErrorCode::TwilioFailed, format!("a list of Twilio's cannot be read: {why}"))
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(status: &str) -> Recording {
        Recording {
            sid: format!("RE{}", "a".repeat(32)),
            call_sid: None,
            status: status.to_owned(),
            error_code: None,
            encryption_details: None,
        }
    }

    #[test]
    fn what_can_be_done_follows_from_the_status() {
        assert_eq!(recording("completed").state(), State::Ready);
        for status in ["in-progress", "paused", "stopped", "processing"] {
            assert_eq!(recording(status).state(), State::Pending, "{status}");
        }
        let why = |recording: &Recording| match recording.state() {
            State::Unusable(why) => why,
            other => panic!("{other:?}"),
        };
        let mut absent = recording("absent");
        absent.error_code = Some(16102);
        assert!(why(&absent).contains("silent"));
        absent.error_code = Some(16101);
        assert!(why(&absent).contains("too short"));
        let mut encrypted = recording("completed");
        encrypted.encryption_details = Some(serde_json::json!({ "type": "rsa" }));
        assert!(why(&encrypted).contains("encrypted"));
        encrypted.encryption_details = Some(serde_json::Value::Null);
        assert_eq!(encrypted.state(), State::Ready);
        let mut odd = recording("completed");
        odd.sid = "RE../../x".to_owned();
        assert!(why(&odd).contains("sid"));
    }

    #[test]
    fn filters_are_encoded() {
        assert_eq!(encoded("DateCreated>"), "DateCreated%3E");
        assert_eq!(encoded("load test/ü"), "load%20test%2F%C3%BC");
    }
}
