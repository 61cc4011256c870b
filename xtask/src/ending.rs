//! The end of a command: its files first, then what is printed, then the exit code, so that all of
//! them say the same.

use std::io;

use dialtone_contract::ExitCode;
use dialtone_harness::envelope::{Envelope, ErrorRecord};
use dialtone_harness::event::{Bus, Consumer, Event, Stamped};
use dialtone_harness::failure::Failure;

/// Two streams behind the one of the run. They get everything but its last event, the result:
/// that one is theirs when it is known whether all of it could be written.
#[derive(Clone)]
pub struct Ending {
    /// Who writes files.
    pub files: Bus,
    /// Who prints.
    pub prints: Bus,
}

impl Ending {
    /// Behind this stream.
    pub fn behind(bus: &Bus) -> Self {
        let ending = Self { files: Bus::new(), prints: Bus::new() };
        // Whoever prints is there from the beginning; files come later and get what was before.
        ending.prints.add_late(Vec::new());
        bus.add_late(vec![
            ("files".to_owned(), Box::new(AllButLast(ending.files.clone()))),
            ("prints".to_owned(), Box::new(AllButLast(ending.prints.clone()))),
        ]);
        ending
    }

    /// Writes and prints the result; the exit code. What cannot be written makes it worse. The
    /// files that can be are then written again, so that none of them claims more than the exit
    /// code does; the event file has both documents, and the last one counts.
    pub fn conclude(&self, mut envelope: Envelope, folder: Option<&str>) -> u8 {
        let finished = |envelope: &Envelope| Event::RunFinished {
            envelope: Box::new(envelope.clone()),
            folder: folder.map(str::to_owned),
        };
        let mut told = Vec::new();
        self.fold_losses(&mut envelope, &mut told);
        self.files.emit(finished(&envelope));
        if self.fold_losses(&mut envelope, &mut told) {
            self.files.emit(finished(&envelope));
        }
        self.prints.emit(finished(&envelope));
        if self.fold_losses(&mut envelope, &mut told) {
            self.files.emit(finished(&envelope));
        }
        envelope.exit_code
    }

    /// Tells what was lost since it was last told, and whether that made the result another one.
    fn fold_losses(&self, envelope: &mut Envelope, told: &mut Vec<String>) -> bool {
        let mut lost = self.files.lost();
        lost.extend(self.prints.lost());
        lost.retain(|what| !told.contains(what));
        if lost.is_empty() {
            return false;
        }
        let failure = Failure::environment(format!("cannot be written: {}", lost.join("; ")))
            .hint("make room on the disk, and leave the folders of a run alone while it goes on");
        told.extend(lost);
        for stream in [&self.files, &self.prints] {
            stream.emit(Event::failure(&failure, None));
        }
        worsen(envelope, &failure)
    }
}

/// Lets a failure decide the result if it is more telling than what is there. Says whether it did.
pub fn worsen(envelope: &mut Envelope, failure: &Failure) -> bool {
    let before = ExitCode::PRECEDENCE.iter().find(|exit| exit.code() == envelope.exit_code);
    // A usage error has no rank: nothing else can come of its command.
    let Some(&before) = before else { return false };
    let exit = before.worse(failure.exit);
    if exit == before {
        return false;
    }
    envelope.set_exit(exit);
    envelope.error = Some(ErrorRecord::from(failure));
    true
}

/// Passes every event on but the result.
struct AllButLast(Bus);

impl Consumer for AllButLast {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        if !matches!(event.event, Event::RunFinished { .. }) {
            self.0.emit(event.event.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use dialtone_contract::ErrorCode;
    use dialtone_harness::event::JsonDocument;
    use dialtone_harness::report;
    use dialtone_harness::run_dir::{EVENTS, RESULT, RunDir};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Consumer for Full {
        fn take(&mut self, event: &Stamped) -> io::Result<()> {
            match event.event {
                Event::RunFinished { .. } => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        }
    }

    fn read(text: &[u8]) -> Envelope {
        serde_json::from_slice(text).expect("one document")
    }

    #[test]
    fn what_is_printed_written_and_exited_with_is_one_result() {
        let base = tempfile::tempdir().expect("a folder");
        let reports = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), "a").expect("a run folder");
        let (bus, page) = (Bus::new(), Page::default());
        let ending = Ending::behind(&bus);
        ending.prints.add("stdout", JsonDocument(page.clone()));
        report::attach(&ending.files, &dir, Some(reports.path())).expect("attached");
        let envelope = Envelope::new("batch:test", "a", 1);
        bus.emit(Event::RunFinished { envelope: Box::new(envelope.clone()), folder: None });
        assert!(page.0.lock().expect("no panic").is_empty(), "it was printed too early");

        drop(reports);
        assert_eq!(ending.conclude(envelope, None), 5);
        let printed = read(&page.0.lock().expect("no panic"));
        assert_eq!(printed.exit_code, 5);
        assert_eq!(printed.error.as_ref().map(|error| error.code), Some(ErrorCode::Environment));
        assert_eq!(read(&fs::read(dir.join(RESULT)).expect("written")), printed);
        let events = fs::read_to_string(dir.join(EVENTS)).expect("written");
        assert_eq!(read(events.lines().last().expect("lines").as_bytes()), printed);
    }

    #[test]
    fn a_result_that_cannot_be_printed_is_not_a_passed_one_in_its_file() {
        let base = tempfile::tempdir().expect("a folder");
        let dir = RunDir::create(base.path(), "a").expect("a run folder");
        let ending = Ending::behind(&Bus::new());
        ending.prints.add("stdout", Full);
        report::attach(&ending.files, &dir, None).expect("attached");
        assert_eq!(ending.conclude(Envelope::new("batch:test", "a", 1), None), 5);
        assert_eq!(read(&fs::read(dir.join(RESULT)).expect("written")).exit_code, 5);
    }

    #[test]
    fn only_the_more_telling_failure_decides() {
        let mut envelope = Envelope::new("batch:test", "a", 1);
        let lost = Failure::environment("cannot be written");
        assert!(worsen(&mut envelope, &lost));
        assert!(!worsen(&mut envelope, &lost));
        for exit in [ExitCode::Interrupted, ExitCode::Deadline, ExitCode::Usage] {
            envelope.set_exit(exit);
            assert!(!worsen(&mut envelope, &lost), "{exit:?}");
            assert_eq!(envelope.exit_code, exit.code());
        }
        envelope.set_exit(ExitCode::CheckFailed);
        assert!(worsen(&mut envelope, &lost));
    }
}
