use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dialtone_harness::failure::Failure;
use dialtone_recordings::truth::Condition;

use super::{Args, twilio};

/// What a recording's name ends in.
const ENDINGS: [&str; 3] = ["wav", "wave", "mp3"];
/// Folders in folders, down to here.
const DEPTH: usize = 8;
/// Calls that are made up where there are none: what ordinary lines sound like, and what hard ones
/// do.
const MADE: [Condition; 6] = [
    Condition::Clean,
    Condition::Noise30,
    Condition::G711,
    Condition::Echo,
    Condition::Quiet,
    Condition::Noise20,
];

/// A recording that is going to be read.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its base name.
    pub file: String,
    /// `RE..`; empty if it is not known.
    pub recording_sid: String,
    /// `CA..`; empty if it is not known.
    pub call_sid: String,
    /// Where it is.
    pub sound: Sound,
}

/// Where a recording is.
#[derive(Clone, Debug)]
pub enum Sound {
    /// In a file.
    File(PathBuf),
    /// Nowhere: it is made.
    Made {
        /// From this seed.
        seed: u64,
        /// Over such a line.
        condition: Condition,
    },
}

/// Recordings that there are.
pub struct Found {
    pub recordings: Vec<Recording>,
    /// Those that cannot be had, with the reason.
    pub left_out: Vec<(String, String)>,
    /// How they were found, where that is not plain.
    pub by: Option<String>,
}

/// Finds what the command line asks for.
pub fn find(args: &Args) -> Result<Found, Failure> {
    let mut found = Found { recordings: Vec::new(), left_out: Vec::new(), by: None };
    if args.source.is_some() {
        let fetched = twilio::fetch(&args.twilio).map_err(told)?;
        found.by = Some(format!(
            "{} recordings from Twilio, found by {}",
            fetched.fetched.len(),
            fetched.found_by
        ));
        found.left_out = fetched.left_out;
        found.recordings.extend(fetched.fetched.into_iter().map(|fetched| Recording {
            file: base_name(&fetched.path),
            recording_sid: fetched.recording_sid,
            call_sid: fetched.call_sid.unwrap_or_default(),
            sound: Sound::File(fetched.path),
        }));
    } else if args.paths.is_empty() {
        found.recordings = made(args.seed);
    }
    for path in &args.paths {
        if path.is_dir() {
            let mut files = Vec::new();
            folder(path, DEPTH, &mut files).map_err(|error| {
                Failure::environment(format!("{} cannot be read: {error}", path.display()))
            })?;
            files.sort();
            found.recordings.extend(files.into_iter().map(of_file));
        } else {
            found.recordings.push(of_file(path.clone()));
        }
    }
    Ok(found)
}

/// A failure of the part of `lab` that talks to Twilio.
fn told(failure: crate::failure::Failure) -> Failure {
    let advice = failure.advice().to_owned();
    Failure::new(failure.code, failure.message).evidence(failure.tried).hint(advice)
}

fn folder(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            if depth > 0 {
                folder(&path, depth - 1, files)?;
            }
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            files.push(path);
        }
    }
    Ok(())
}

fn of_file(path: PathBuf) -> Recording {
    let file = base_name(&path);
    let sid = |kind: &str| sid(&file, kind).unwrap_or_default().to_owned();
    let (recording_sid, call_sid) = (sid("RE"), sid("CA"));
    Recording { recording_sid, call_sid, file, sound: Sound::File(path) }
}

/// The sid of that kind in a file's name: two letters and 32 digits, as Twilio makes them.
fn sid<'a>(name: &'a str, kind: &str) -> Option<&'a str> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.match_indices(kind)
        .filter_map(|(at, _)| name.get(at..at + 34))
        .find(|sid| digits(&sid[2..]))
}

fn base_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Calls that nothing was tuned on.
fn made(seed: u64) -> Vec<Recording> {
    let call = |(n, condition): (usize, Condition)| Recording {
        file: format!("made-{}-{}.wav", n + 1, condition.name()),
        recording_sid: String::new(),
        call_sid: String::new(),
        sound: Sound::Made { seed: (seed.wrapping_add(n as u64)).wrapping_mul(2) | 1, condition },
    };
    MADE.into_iter().enumerate().map(call).collect()
}

/// What the recordings are called: by their base names, and where that would be ambiguous, by
/// their paths.
pub fn names(recordings: &[Recording]) -> Vec<String> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for recording in recordings {
        *times.entry(&recording.file).or_default() += 1;
    }
    let name = |recording: &Recording| match &recording.sound {
        Sound::File(path) if times[recording.file.as_str()] > 1 => path.display().to_string(),
        _ => recording.file.clone(),
    };
    recordings.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_are_read_from_names() {
        let re = "RE0123456789abcdef0123456789ABCDEF";
        let ca = "CA00000000000000000000000000000001";
        let name = format!("{ca}_{re}.wav");
        assert_eq!((sid(&name, "RE"), sid(&name, "CA")), (Some(re), Some(ca)));
        assert_eq!(sid("RECORDING-2024.wav", "RE"), None);
        assert_eq!(sid("REé123456789abcdef0123456789ABCDEF", "RE"), None);
    }

    #[test]
    fn names_tell_recordings_apart() {
        let of = |path: &str| of_file(PathBuf::from(path));
        let recordings = [of("a/1.wav"), of("b/1.wav"), of("b/2.wav")];
        assert_eq!(names(&recordings), ["a/1.wav", "b/1.wav", "2.wav"]);
    }
}
