//! Every line of the grammar, as it is shown.

use std::io;
use std::sync::{Arc, Mutex};

use dialtone_contract::wire::WorkerHealth;
use dialtone_contract::{ErrorCode, ExitCode};

use super::*;
use crate::envelope::{Case, Check, CheckStatus, Envelope, Invariant, Metrics};
use crate::event::{Bus, TableRow};
use crate::failure::Failure;

const FANCY: Style = Style { colour: false, unicode: true };
const COLOUR: Style = Style { colour: true, unicode: true };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn row(name: &str, planned: &str, ended: u32, ended_as: &str, attempts: u32) -> TableRow {
    TableRow {
        name: name.into(),
        planned: planned.into(),
        ended,
        ended_as: ended_as.into(),
        attempts: (attempts > 0).then_some(attempts),
        good: planned == ended.to_string(),
    }
}

fn stack_events() -> Vec<Event> {
    vec![
        Event::RunStarted {
            command: "batch:test".into(),
            run_id: "tovvz2-4ai4".into(),
            seed: 42,
            real: vec!["processes".into(), "HTTP".into(), "SQLite".into()],
            simulated: vec!["LiveKit (livekit-dev)".into(), "time x240".into()],
            plan: "149 calls = 24 completed + 100 failed + 15 stuck + 10 dropped (exact)".into(),
        },
        Event::BuildStarted { what: "workspace binaries".into() },
        Event::BuildFinished { what: "workspace binaries".into(), duration_ms: 61_234.5 },
        Event::ServiceStarted {
            name: "dialtone".into(),
            pid: 4711,
            url: "http://127.0.0.1:41873".into(),
            duration_ms: 4.2,
        },
        Event::ServiceReady { name: "dialtone".into(), duration_ms: 41.0 },
        Event::Check(Check::new("ready", CheckStatus::Passed, ms(41), "3 services")),
        Event::Progress(Progress {
            total: 149,
            ended: 118,
            in_flight: 25,
            retrying: 6,
            attempts: 159,
            dials: 124,
            simulated_s: 244.0,
        }),
        Event::Note { text: "press Ctrl-C to stop".into() },
        Event::Warning { text: "dialtone ended with exit code 1 when it was told to stop".into() },
        Event::Interrupting { signal: "SIGINT".into() },
        Event::Stopped { processes: 3, duration_ms: 38.0 },
        Event::Stopped { processes: 1, duration_ms: 38.0 },
        Event::Check(Check::new("counts", CheckStatus::Passed, ms(0), "149 entries as planned")),
    ]
}

fn failing_events() -> Vec<Event> {
    let wrong = Failure::new(ErrorCode::WrongCounts, "2 entries did not end as planned")
        .evidence(["ent_1 was planned completed and ended failed (agent_error)", "and 1 more"]);
    let slow = Failure::new(ErrorCode::MachineTooSlow, "dialtone lagged 612 ms").hint("wait");
    let mut envelope = envelope(ExitCode::Environment);
    envelope.checks = vec![
        Check::new("ready", CheckStatus::Passed, ms(41), "3 services"),
        Check::failed("counts", ms(1), &wrong),
        Check::new("attempts", CheckStatus::Skipped, ms(0), "not judged"),
        Check::new("teardown", CheckStatus::NotRun, ms(0), ""),
    ];
    envelope.invariants[1].holds = false;
    vec![
        Event::ServiceExited { name: "dialtone".into(), pid: 7, exit: "exit code 1".into() },
        Event::Check(envelope.checks[1].clone()),
        Event::failure(&wrong, Some("cargo xtask batch:test --seed 42".into())),
        Event::Check(envelope.checks[2].clone()),
        Event::failure(&slow, None),
        Event::Invariants { hold: 1, total: 2, broken: vec!["one_report".into()] },
        Event::Table {
            rows: vec![
                row("completed", "24", 22, "", 24),
                row("stuck", "15", 15, "failed (timeout_unclaimed)", 45),
                row("unclaimed", "11-42", 7, "failed (timeout_unclaimed)", 0),
            ],
            figures: String::new(),
        },
        Event::RunFinished { envelope: Box::new(envelope), folder: Some("target/x".into()) },
    ]
}

/// A worker run with a case for each backend.
fn matrix_events() -> Vec<Event> {
    let no_device = Failure::new(ErrorCode::NoDevice, "cuda: libcuda.so.1 not found");
    let wrong = Failure::new(ErrorCode::WrongAnswer, "the built-in model answered \"Hm.\"");
    let skipped = Check {
        code: Some(no_device.code),
        ..Check::new("backend", CheckStatus::Skipped, ms(3), no_device.message)
    };
    let case = |name: &str, exit: ExitCode, check: &Check| Case {
        name: name.into(),
        verdict: exit.verdict(),
        checks: vec![check.clone()],
        metrics: Metrics::default(),
    };
    let passed = Check::new("ready", CheckStatus::Passed, ms(83), "83 ms after its start");
    let failed = Check::failed("inference", ms(40), &wrong);
    let mut envelope = Envelope::new("worker:test", "7f3a", 42);
    envelope.wall_s = 2.5;
    envelope.set_exit(ExitCode::CheckFailed);
    envelope.checks = vec![
        Check::new("cpu", CheckStatus::Passed, ms(1400), "14 checks"),
        Check { name: "cuda".into(), ..skipped.clone() },
        Check { name: "vulkan".into(), ..failed.clone() },
    ];
    envelope.cases = vec![
        case("cpu", ExitCode::Passed, &passed),
        case("cuda", ExitCode::Skipped, &skipped),
        case("vulkan", ExitCode::CheckFailed, &failed),
    ];
    let beat = |seq, status, gap_ms, slots_total| Event::Beat {
        seq,
        status,
        gap_ms,
        slots_busy: 0,
        slots_total,
    };
    vec![
        Event::CaseStarted { name: "cpu".into() },
        beat(0, WorkerHealth::Starting, None, 0),
        beat(1, WorkerHealth::Healthy, Some(251.4), 4),
        Event::Check(passed),
        Event::Check(envelope.checks[0].clone()),
        Event::CaseStarted { name: "cuda".into() },
        Event::Check(skipped),
        Event::Check(envelope.checks[1].clone()),
        Event::RunFinished { envelope: Box::new(envelope), folder: Some("target/x".into()) },
    ]
}

fn envelope(exit: ExitCode) -> Envelope {
    let mut envelope = Envelope::new("batch:test", "7f3a", 42);
    envelope.wall_s = 2.772;
    envelope.simulated_s = 632.0;
    envelope.set_exit(exit);
    envelope.checks = vec![Check::new("ready", CheckStatus::Passed, ms(41), "3 services")];
    envelope.invariants = ["no_lost_entry", "one_report"]
        .map(|name| Invariant { name: name.into(), holds: true, detail: None })
        .to_vec();
    envelope.metrics.set("attempts", 199.0);
    envelope
}

/// What a printer says, each line marked with where it went.
fn said(style: Style, verbosity: Verbosity, events: Vec<Event>) -> String {
    #[derive(Clone)]
    struct Mark(&'static str, Arc<Mutex<String>>);
    impl Write for Mark {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.1.lock().expect("not poisoned");
            for line in String::from_utf8_lossy(bytes).lines() {
                all.push_str(&format!("{}{line}\n", self.0));
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let all = Arc::new(Mutex::new(String::new()));
    let (out, talk) = (Mark("out  |", Arc::clone(&all)), Mark("talk |", Arc::clone(&all)));
    let mut terminal = Terminal::new(out, talk, style, verbosity, false);
    for (event, at) in events.into_iter().zip(0_u32..) {
        let stamped = Stamped { at_ms: f64::from(at) * 100.0, event };
        terminal.take(&stamped).expect("written");
    }
    drop(terminal);
    Arc::into_inner(all).and_then(|all| all.into_inner().ok()).expect("the printer is gone")
}

#[test]
fn a_run_that_goes_well() {
    let mut events = stack_events();
    let rows = vec![
        row("completed", "24", 24, "", 24),
        row("stuck", "15", 15, "failed (timeout_unclaimed)", 45),
        row("all", "149", 149, "", 199),
    ];
    let figures = "dials 124, callbacks 124, dispatch p50 0.8 ms, p95 2.1 ms".into();
    events.push(Event::Table { rows, figures });
    let envelope = Box::new(envelope(ExitCode::Passed));
    events.push(Event::RunFinished { envelope, folder: Some("target/xtask/runs/7f3a".into()) });
    insta::assert_snapshot!(said(FANCY, Verbosity::Normal, events));
}

#[test]
fn a_run_that_fails() {
    insta::assert_snapshot!(said(FANCY, Verbosity::Normal, failing_events()));
}

#[test]
fn plain_ascii() {
    let text = said(Style::PLAIN, Verbosity::Normal, failing_events());
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn quiet_says_the_verdict_and_what_is_wrong() {
    let mut events = stack_events();
    events.extend(failing_events());
    insta::assert_snapshot!(said(FANCY, Verbosity::Quiet, events));
}

#[test]
fn verbose_says_every_figure() {
    let envelope = Box::new(envelope(ExitCode::Passed));
    let finished = vec![Event::RunFinished { envelope, folder: None }];
    insta::assert_snapshot!(said(FANCY, Verbosity::Verbose, finished));
}

#[test]
fn colour_only_adds() {
    let coloured = said(COLOUR, Verbosity::Normal, failing_events());
    assert!(coloured.contains("\u{1b}[1;31m"));
    let mut plain = coloured;
    for code in ["1;31", "1;32", "1;33", "1", "0"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, said(FANCY, Verbosity::Normal, failing_events()));
}

#[test]
fn progress_is_a_line_a_second_where_nobody_looks() {
    let step = |ended| {
        Event::Progress(Progress {
            total: 9,
            ended,
            in_flight: 1,
            retrying: 0,
            attempts: ended,
            dials: ended,
            simulated_s: 1.0,
        })
    };
    // A hundred milliseconds apart: the first, and the one a second later.
    let text = said(FANCY, Verbosity::Normal, (0..12).map(step).collect());
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn a_reader_that_has_gone_away_takes_nothing_with_it() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bus = Bus::new();
    bus.add("terminal", Terminal::new(Gone, Gone, FANCY, Verbosity::Normal, false));
    stack_events().into_iter().for_each(|event| bus.emit(event));
    assert_eq!(bus.lost(), Vec::<String>::new());
}

#[test]
fn a_matrix_has_a_row_for_each_case_and_verbose_shows_beats() {
    insta::assert_snapshot!(said(FANCY, Verbosity::Verbose, matrix_events()));
}
