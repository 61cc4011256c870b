//! The files that a run writes, as consumers of its events.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::event::{Bus, Consumer, Event, JsonLines, Stamped};
use crate::failure::Failure;
use crate::junit;
use crate::run_dir::{EVENTS, JUNIT, RESULT, RunDir, shown};

/// Writes `result.json` and `junit.xml` into a folder when the run is over.
pub struct Results(PathBuf);

impl Results {
    /// Into this folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }
}

impl Consumer for Results {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        let Event::RunFinished { envelope, .. } = &event.event else { return Ok(()) };
        replace(&self.0.join(RESULT), &envelope.to_json())?;
        replace(&self.0.join(JUNIT), &junit::render(envelope))
    }
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
        late.push((shown(report_dir), Box::new(Results::new(report_dir))));
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
        let envelope = Box::new(Envelope::new("batch:test", "a", 1));
        bus.emit(Event::RunFinished { envelope, folder: None });
        assert_eq!(bus.lost(), Vec::<String>::new());
        for dir in [dir.path(), reports.path()] {
            let text = fs::read_to_string(dir.join(RESULT)).expect("written");
            let read: Envelope = serde_json::from_str(&text).expect("the document");
            assert_eq!(read.run_id, "a");
            assert!(dir.join(JUNIT).exists());
        }
        let events = fs::read_to_string(dir.join(EVENTS)).expect("written");
        assert_eq!(events.lines().count(), 3);
    }
}
