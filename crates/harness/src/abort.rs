//! When waiting has become pointless. Pure decisions over what was observed; `watch` observes.

use std::time::Duration;

use dialtone_contract::{ErrorCode, TEST_WORKER_NAME};
use serde::Deserialize;

use crate::failure::Failure;
use crate::span;

/// How long the worker may be missing: time enough to register again.
const MISSING: Duration = Duration::from_secs(3);
/// How long the worker may be stopped: two looks, so that a debugger's blink is no verdict.
const STOPPED: Duration = Duration::from_secs(1);
/// How long `/livez` may be silent.
const SILENT: Duration = Duration::from_secs(5);
/// How long jobs may go unanswered while none is accepted.
const IGNORED: Duration = Duration::from_secs(10);
/// Unanswered jobs that tell silence from one lost message.
const IGNORED_JOBS: u64 = 3;

/// A registered worker, as `livekit-dev` lists it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// The registration: a worker that comes back gets another.
    pub worker_id: String,
    /// The name that dispatches ask for.
    pub agent_name: String,
    /// Jobs that it took.
    pub jobs_accepted: u64,
    /// Jobs that it let time out.
    pub jobs_unanswered: u64,
}

/// The answer of `GET /dev/workers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Workers {
    /// Those registered now.
    pub workers: Vec<Worker>,
}

/// One look at a run that goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Time since the first look.
    pub at: Duration,
    /// The registered workers; `None` where the LiveKit does not tell.
    pub workers: Option<Vec<Worker>>,
    /// The processes, with the worker's own among them.
    pub processes: Vec<Process>,
    /// Dial claims so far.
    pub dials: u32,
}

/// One process in one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// The service.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Whether it is the one that takes the jobs.
    pub is_worker: bool,
    /// Its state letter, where the system tells.
    pub state: Option<char>,
    /// How long its `/livez` has been silent.
    pub silent: Duration,
}

/// Remembers from look to look what a single one cannot show.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    missing_since: Option<Duration>,
    stopped_since: Option<Duration>,
    ignored: Option<Ignored>,
}

/// Since when nothing moved, and what stood then.
#[derive(Clone, Copy, Debug)]
struct Ignored {
    since: Duration,
    accepted: u64,
    unanswered: u64,
    dials: u32,
}

impl Judge {
    /// Whether waiting is pointless, and why.
    pub fn judge(&mut self, seen: &Observation) -> Option<Failure> {
        self.stopped(seen)
            .or_else(|| silent(seen))
            .or_else(|| self.missing(seen))
            .or_else(|| self.ignored(seen))
    }

    fn stopped(&mut self, seen: &Observation) -> Option<Failure> {
        let worker = seen.processes.iter().find(|process| process.is_worker)?;
        if !matches!(worker.state, Some('T' | 't')) {
            self.stopped_since = None;
            return None;
        }
        let since = *self.stopped_since.get_or_insert(seen.at);
        let for_s = seen.at.saturating_sub(since);
        (for_s >= STOPPED).then(|| {
            let (name, pid) = (&worker.name, worker.pid);
            let message = format!(
                "{name} (pid {pid}) is registered but stopped (SIGSTOP, process state T) for {}",
                span::human(for_s)
            );
            Failure::new(ErrorCode::WorkerSilent, message)
                .hint(format!("continue it with `kill -CONT {pid}`, or find out who stopped it"))
        })
    }

    fn missing(&mut self, seen: &Observation) -> Option<Failure> {
        let workers = seen.workers.as_ref()?;
        if workers.iter().any(|worker| worker.agent_name == TEST_WORKER_NAME) {
            self.missing_since = None;
            return None;
        }
        let since = *self.missing_since.get_or_insert(seen.at);
        (seen.at.saturating_sub(since) >= MISSING).then(|| no_worker(workers))
    }

    fn ignored(&mut self, seen: &Observation) -> Option<Failure> {
        let workers = seen.workers.as_ref()?;
        let ours = || workers.iter().filter(|worker| worker.agent_name == TEST_WORKER_NAME);
        let now = Ignored {
            since: seen.at,
            accepted: ours().map(|worker| worker.jobs_accepted).sum(),
            unanswered: ours().map(|worker| worker.jobs_unanswered).sum(),
            dials: seen.dials,
        };
        let then = *self.ignored.get_or_insert(now);
        if now.accepted != then.accepted
            || now.dials != then.dials
            || now.unanswered <= then.unanswered
        {
            let moved = now.accepted != then.accepted || now.dials != then.dials;
            if moved || now.unanswered < then.unanswered {
                self.ignored = Some(now);
            }
            return None;
        }
        let (jobs, idle) = (now.unanswered - then.unanswered, now.since - then.since);
        (jobs >= IGNORED_JOBS && idle >= IGNORED).then(|| {
            let message = format!(
                "{TEST_WORKER_NAME} is registered but let {jobs} jobs go unanswered in {} and took none",
                span::human(idle)
            );
            Failure::new(ErrorCode::WorkerSilent, message)
        })
    }
}

fn silent(seen: &Observation) -> Option<Failure> {
    let process = seen.processes.iter().find(|process| process.silent >= SILENT)?;
    let (name, pid) = (&process.name, process.pid);
    let code = if process.is_worker { ErrorCode::WorkerSilent } else { ErrorCode::TargetLost };
    let stopped = match process.state {
        Some('T' | 't') => "; it is stopped (SIGSTOP, process state T)",
        _ => "",
    };
    let message = format!(
        "{name} (pid {pid}) has not answered /livez for {}{stopped}",
        span::human(process.silent)
    );
    Some(Failure::new(code, message))
}

/// The failure when none of the registered workers is the one that dispatches ask for.
pub fn no_worker(workers: &[Worker]) -> Failure {
    let mut names: Vec<&str> = workers.iter().map(|worker| worker.agent_name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let seen = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("no worker named {TEST_WORKER_NAME} is registered; seen: {seen}");
    Failure::new(ErrorCode::NoWorker, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, accepted: u64, unanswered: u64) -> Worker {
        Worker {
            worker_id: format!("AW_{name}"),
            agent_name: name.into(),
            jobs_accepted: accepted,
            jobs_unanswered: unanswered,
        }
    }

    fn look(at_s: u64, workers: Vec<Worker>) -> Observation {
        let process = Process {
            name: "test-worker".into(),
            pid: 7,
            is_worker: true,
            state: Some('S'),
            silent: Duration::ZERO,
        };
        Observation {
            at: Duration::from_secs(at_s),
            workers: Some(workers),
            processes: vec![process],
            dials: 0,
        }
    }

    fn ours(accepted: u64, unanswered: u64) -> Vec<Worker> {
        vec![worker(TEST_WORKER_NAME, accepted, unanswered)]
    }

    #[test]
    fn a_foreign_worker_is_named_and_a_blink_is_forgiven() {
        let mut judge = Judge::default();
        let foreign = vec![worker("prod-agent", 0, 0), worker("prod-agent", 0, 0)];
        assert_eq!(judge.judge(&look(0, foreign.clone())), None);
        assert_eq!(judge.judge(&look(1, ours(0, 0))), None);
        assert_eq!(judge.judge(&look(2, foreign.clone())), None);
        assert_eq!(judge.judge(&look(4, foreign.clone())), None);
        let failure = judge.judge(&look(5, foreign)).expect("given up");
        assert_eq!(
            failure.message,
            "no worker named batch-test-worker is registered; seen: prod-agent"
        );
        assert_eq!((failure.code, failure.exit.code()), (ErrorCode::NoWorker, 3));
    }

    #[test]
    fn nobody_at_all_is_said_too() {
        let mut judge = Judge::default();
        judge.judge(&look(0, vec![]));
        let failure = judge.judge(&look(3, vec![])).expect("given up");
        assert!(failure.message.ends_with("seen: none"), "{failure}");
    }

    #[test]
    fn a_stopped_worker_is_silent_within_seconds() {
        let mut judge = Judge::default();
        let mut seen = look(10, ours(5, 0));
        seen.processes[0].state = Some('T');
        assert_eq!(judge.judge(&seen), None);
        seen.at += Duration::from_millis(1_500);
        let failure = judge.judge(&seen).expect("given up");
        assert_eq!((failure.code, failure.exit.code()), (ErrorCode::WorkerSilent, 3));
        assert!(failure.message.contains("SIGSTOP"), "{failure}");
    }

    #[test]
    fn silence_of_the_worker_and_of_the_target_differ() {
        let mut seen = look(10, ours(5, 0));
        seen.processes[0].silent = Duration::from_millis(4_900);
        assert_eq!(Judge::default().judge(&seen), None);
        seen.processes[0].silent = SILENT;
        let code = |seen: &Observation| Judge::default().judge(seen).map(|failure| failure.code);
        assert_eq!(code(&seen), Some(ErrorCode::WorkerSilent));
        seen.processes[0].is_worker = false;
        assert_eq!(code(&seen), Some(ErrorCode::TargetLost));
    }

    #[test]
    fn unanswered_jobs_count_only_while_nothing_is_taken() {
        let mut judge = Judge::default();
        assert_eq!(judge.judge(&look(0, ours(0, 0))), None);
        assert_eq!(judge.judge(&look(6, ours(0, 4))), None);
        assert_eq!(judge.judge(&look(9, ours(1, 9))), None);
        assert_eq!(judge.judge(&look(18, ours(1, 20))), None);
        let failure = judge.judge(&look(19, ours(1, 20))).expect("given up");
        assert_eq!(failure.code, ErrorCode::WorkerSilent);
        assert!(failure.message.contains("11 jobs go unanswered in 10.0 s"), "{failure}");
    }

    #[test]
    fn one_lost_job_or_a_quiet_backoff_is_no_silence() {
        let mut judge = Judge::default();
        assert_eq!(judge.judge(&look(0, ours(9, 0))), None);
        assert_eq!(judge.judge(&look(60, ours(9, 1))), None);
        assert_eq!(judge.judge(&look(600, ours(9, 2))), None);
        assert_eq!(judge.judge(&Observation { workers: None, ..look(900, vec![]) }), None);
    }
}
