use std::collections::BTreeMap;
use std::fmt;

use dialtone_contract::ErrorCode;

use super::Args;
use super::client::Client;
use super::listing::Recording;
use super::manifest;
use crate::failure::Failure;

/// By what the recordings of a tag were found. Twilio itself knows no tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The manifest had so many calls under the tag.
    Manifest(usize),
    /// So many conferences are named so.
    Conferences(usize),
    /// They were recorded then, whatever they are.
    Dates(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(calls) => write!(f, "the manifest's {calls} calls"),
            Self::Conferences(many) => write!(f, "{many} conferences of that name"),
            Self::Dates(window) => write!(f, "their dates alone ({window}), not by the tag"),
        }
    }
}

/// The recordings of a tag, by the first way that finds any: the manifest, names of conferences,
/// dates if they are given. Recordings of other runs are never taken for want of better.
pub fn resolve(client: &Client, args: &Args, tag: &str) -> Result<(Vec<Recording>, Way), Failure> {
    let mut tried = Vec::new();
    match &args.manifest {
        Some(path) => {
            let calls = manifest::calls_of(path, tag)?;
            let mut found = Vec::new();
            for call in &calls {
                found.extend(client.recordings(&[("CallSid", call)])?);
            }
            if !found.is_empty() {
                return Ok((once(found), Way::Manifest(calls.len())));
            }
            tried.push(format!(
                "the manifest {}: {} calls under {tag:?}, no recordings of them",
                path.display(),
                calls.len()
            ));
        }
        None => tried.push("no manifest was given (--manifest)".to_owned()),
    }
    let conferences = client.conferences(tag)?;
    let mut found = Vec::new();
    for conference in &conferences {
        found.extend(client.of_conference(&conference.sid)?);
    }
    if !found.is_empty() {
        return Ok((once(found), Way::Conferences(conferences.len())));
    }
    tried.push(format!(
        "{} conferences are named {tag:?}, no recordings of them",
        conferences.len()
    ));
    if args.since.is_some() || args.until.is_some() {
        let mut filters = Vec::new();
        filters.extend(args.since.as_deref().map(|day| ("DateCreated>", day)));
        filters.extend(args.until.as_deref().map(|day| ("DateCreated<", day)));
        let found = client.recordings(&filters)?;
        let day = |day: &Option<String>| day.clone().unwrap_or_default();
        let window = format!("{}..{}", day(&args.since), day(&args.until));
        if !found.is_empty() {
            return Ok((once(found), Way::Dates(window)));
        }
        tried.push(format!("no recordings from {window}"));
    } else {
        tried.push("no dates were given (--since, --until)".to_owned());
    }
    let message = format!("Twilio has no recordings of the run {tag:?}");
    Err(Failure::new(ErrorCode::NoRecordings, message).tried(tried))
}

/// Each recording once, in the order of their sids.
fn once(found: Vec<Recording>) -> Vec<Recording> {
    let by_sid: BTreeMap<String, Recording> =
        found.into_iter().map(|recording| (recording.sid.clone(), recording)).collect();
    by_sid.into_values().collect()
}
