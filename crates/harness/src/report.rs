//! The files that a run writes, as consumers of its events.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Bus, Consumer, Event, JsonLines, Stamped};
use crate::failure::Failure;
use crate::junit;
use crate::run_dir::{EVENTS, JUNIT, RESULT, RunDir, shown};

/// Writes `result.json` and `junit.xml` into a folder when the run is over.
pub struct Results {
    into: PathBuf,
    /// Where the files lie that the document names, if not there.
    from: Option<PathBuf>,
}

impl Results {
    /// Into this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { into: dir.into(), from: None }
    }

    /// Into this folder, with a copy of every file that the document names: whoever gets the
    /// folder alone needs the logs.
    pub fn with_files_of(mut self, from: impl Into<PathBuf>) -> Self {
        self.from = Some(from.into());
        self
    }
}

impl Consumer for Results {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        let Event::RunFinished { envelope, .. } = &event.event else { return Ok(()) };
        if let Some(from) = &self.from {
            for name in envelope.artifacts.values() {
                // A log that grew long has an older half beside it.
                for name in [format!("{name}.1"), name.clone()] {
                    copy(&from.join(&name), &self.into.join(&name))?;
                }
            }
        }
        replace(&self.into.join(RESULT), &envelope.to_json())?;
        replace(&self.into.join(JUNIT), &junit::render(envelope))
    }
}

/// Copies a file, if it is one.
fn copy(from: &Path, into: &Path) -> io::Result<()> {
    if from.is_file() {
        fs::copy(from, into)?;
    }
    Ok(())
}

/// Writes by a rename, so that a reader finds the whole file or none.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

/// Adds the files of a run to its stream: those of the run folder, and copies in `report_dir`.
///
/// # Errors
/// If the event file cannot be made.
pub fn attach(bus: &Bus, dir: &RunDir, report_dir: Option<&Path>) -> Result<(), Failure> {
    let events = dir.join(EVENTS);
    let file = fs::File::create(&events).map_err(|error| {
        Failure::environment(format!("{} cannot be written: {error}", shown(&events)))
    })?;
    let mut late: Vec<(String, Box<dyn Consumer>)> = vec![
        (EVENTS.to_owned(), Box::new(JsonLines(file))),
        (dir.shown(), Box::new(Results::new(dir.path()))),
    ];
    if let Some(report_dir) = report_dir {
        let results = Results::new(report_dir).with_files_of(dir.path());
        late.push((shown(report_dir), Box::new(results)));
    }
    bus.add_late(late);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;

    #[test]
    fn a_run_leaves_its_files_in_both_folders() {
        let base = tempfile::tempdir().expect("a folder");
        let reports = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), "a").expect("a run folder");
        let bus = Bus::new();
        bus.emit(Event::Note { text: "before the folder".into() });
        attach(&bus, &dir, Some(reports.path())).expect("attached");
        bus.emit(Event::Note { text: "hello".into() });
        let mut envelope = Box::new(Envelope::new("batch:test", "a", 1));
        for (name, file) in [("events", EVENTS), ("log_w", "w.log"), ("data", "data")] {
            envelope.artifacts.insert(name.into(), file.into());
        }
        fs::write(dir.join("w.log"), "new").expect("written");
        fs::write(dir.join("w.log.1"), "old").expect("written");
        bus.emit(Event::RunFinished { envelope, folder: None });
        assert_eq!(bus.lost(), Vec::<String>::new());
        for dir in [dir.path(), reports.path()] {
            let text = fs::read_to_string(dir.join(RESULT)).expect("written");
            let read: Envelope = serde_json::from_str(&text).expect("the document");
            assert_eq!(read.run_id, "a");
            assert!(dir.join(JUNIT).exists());
            assert_eq!(fs::read_to_string(dir.join("w.log")).expect("copied"), "new");
            assert_eq!(fs::read_to_string(dir.join("w.log.1")).expect("copied"), "old");
            let events = fs::read_to_string(dir.join(EVENTS)).expect("written");
            assert_eq!(events.lines().count(), 3);
        }
    }
}
