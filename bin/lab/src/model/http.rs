use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use dialtone_contract::ErrorCode;
use ureq::Agent;
use ureq::http::Response;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};

use super::folder;
use super::manifest::Model;
use crate::agent::agent;
use crate::failure::Failure;
use crate::progress::{Progress, megabytes, say};

/// Attempts that bring nothing new, one after the other, before it is given up.
const ATTEMPTS: u32 = 5;
/// The wait before the second of them; it doubles from one to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// What a wheel may be longer than the model in it.
const SLACK: u64 = 64 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A failure to get something from `url`.
pub fn failed(url: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::DownloadFailed, format!("{url}: {why}"))
}

/// Why one attempt did not bring the rest.
enum Broken {
    /// Another attempt may.
    Off(String),
    /// No other will.
    Final(Failure),
}

/// A download on its way.
struct Download<'a> {
    url: &'a str,
    agent: Agent,
    file: File,
    done: u64,
    // Bytes of the whole, once they are known.
    total: Option<u64>,
    limit: u64,
    progress: Progress,
}

/// Downloads `url` to `path`. A connection that breaks off is taken up again where it ended, as
/// long as each attempt brings something.
pub fn download(url: &str, path: &Path, model: &Model) -> Result<(), Failure> {
    let file = File::create(path)
        .map_err(|error| Failure::environment(format!("cannot write {}", path.display()), error))?;
    let progress = Progress::new(&model.name, Some(model.bytes));
    let limit = model.bytes + SLACK;
    let agent = agent();
    let mut download = Download { url, agent, file, done: 0, total: None, limit, progress };
    let (mut most, mut in_vain) = (0, 0);
    loop {
        let why = match download.attempt() {
            Ok(()) => return Ok(()),
            Err(Broken::Final(failure)) => return Err(failure),
            Err(Broken::Off(why)) => why,
        };
        // Counted by what was never there before: a server that cannot resume brings the same
        // beginning again and again.
        in_vain = if download.done > most { 0 } else { in_vain + 1 };
        most = most.max(download.done);
        if in_vain >= ATTEMPTS {
            let after = format!("{why} (given up after {in_vain} attempts in vain)");
            return Err(failed(url, after));
        }
        download.progress.clear();
        say("Retrying", &format!("after {}: {why}", megabytes(download.done)));
        if in_vain > 0 {
            std::thread::sleep(PAUSE * 2_u32.pow(in_vain - 1));
        }
    }
}

impl Download<'_> {
    /// Asks for what is missing, and appends what comes.
    fn attempt(&mut self) -> Result<(), Broken> {
        let mut request = self.agent.get(self.url);
        if self.done > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.done));
        }
        let mut response = request.call().map_err(|error| self.off(&error))?;
        self.begin(&response)?;
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Off(error.to_string())),
            };
            self.file.write_all(&chunk[..read]).map_err(disk)?;
            self.done += read as u64;
            if self.done > self.limit {
                return Err(Broken::Final(folder::too_long(self.url, self.limit)));
            }
            self.progress.at(self.done);
        }
        match self.total {
            Some(total) if self.done < total => {
                Err(Broken::Off(format!("it ended after {} of {total} bytes", self.done)))
            }
            _ => Ok(()),
        }
    }

    /// Looks at the head of an answer: where what follows belongs.
    fn begin<B>(&mut self, response: &Response<B>) -> Result<(), Broken> {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        match response.status().as_u16() {
            200 => {
                // From the beginning, asked for or not.
                self.done = 0;
                self.file.set_len(0).map_err(disk)?;
                self.file.seek(SeekFrom::Start(0)).map_err(disk)?;
                self.total = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
                Ok(())
            }
            206 => {
                let range = header(CONTENT_RANGE).unwrap_or_default();
                let (start, total) = range_of(range).ok_or_else(|| {
                    Broken::Final(failed(self.url, format!("it answered the range {range:?}")))
                })?;
                if start != self.done {
                    let why = format!("it answered from byte {start}, not {}", self.done);
                    return Err(Broken::Final(failed(self.url, why)));
                }
                self.total = total;
                Ok(())
            }
            status @ (408 | 429 | 500..=599) => Err(Broken::Off(format!("it answered {status}"))),
            status => Err(Broken::Final(failed(self.url, format!("it answered {status}")))),
        }
    }

    /// What to do about an attempt that failed before its answer.
    fn off(&self, error: &ureq::Error) -> Broken {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
                Broken::Final(failed(self.url, error))
            }
            error => Broken::Off(error.to_string()),
        }
    }
}

fn disk(error: io::Error) -> Broken {
    Broken::Final(Failure::environment("cannot write the download", error))
}

/// First byte and size of the whole, of `bytes 100-199/200`.
fn range_of(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_of("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(range_of("bytes 100-199/*"), Some((100, None)));
        for wrong in ["", "bytes */200", "100-199/200", "bytes a-b/200"] {
            assert_eq!(range_of(wrong), None, "{wrong}");
        }
    }
}
