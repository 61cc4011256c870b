//! Starting children under the `supervise` binary.

use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdout, Command};
use tokio::sync::watch;

use crate::child::State;
use crate::protocol::{Event, Launch, SpawnFailure};
use crate::{CHILD_ENV, Child, ChildError, Exit, Spec, census, log};

/// Number of the first passed listener; 0 to 2 are the standard streams.
const FIRST_FD: i32 = 3;

/// Lines of log that an error carries as evidence.
const EVIDENCE_LINES: usize = 10;

/// Where output goes when the spec names no log.
const NULL_DEVICE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// Starts children. It holds nothing but the place of the `supervise` binary.
#[derive(Debug, Clone)]
pub struct Supervisor {
    program: PathBuf,
}

impl Supervisor {
    /// Names the `supervise` binary.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// The `supervise` binary.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a child and returns once it runs and its process id is known, or could not be run.
    pub async fn start(&self, spec: Spec) -> Result<Child, ChildError> {
        if !cfg!(unix) {
            return Err(ChildError::Unsupported { name: spec.name });
        }
        let log_path = spec.log.clone().unwrap_or_else(|| PathBuf::from(NULL_DEVICE));
        let tag = child_tag();
        let (reader, lifeline) = std::io::pipe().map_err(|source| ChildError::Descriptor {
            name: spec.name.clone(),
            what: "its lifeline".to_owned(),
            source,
        })?;
        let command = self.command(&spec, &tag)?;
        let mut command = Command::from(command);
        command.stdin(Stdio::from(reader)).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|source| ChildError::Supervisor {
            name: spec.name.clone(),
            program: self.program.clone(),
            source,
        })?;
        // The command holds the reading end of the lifeline and copies of the listeners.
        drop(command);
        let supervisor_pid = process.id().unwrap_or_default();
        let stdout = process.stdout.take().expect("stdout was just made a pipe");
        let mut events = BufReader::new(stdout).lines();

        let pid = match next_event(&mut events).await {
            Some(Event::Started { pid }) => pid,
            Some(Event::SpawnFailed { error, reason }) => {
                let _ = process.wait().await;
                return Err(program_error(spec, error, reason));
            }
            _ => {
                let status = process.wait().await;
                sweep(tag).await;
                return Err(ChildError::Lost {
                    name: spec.name,
                    status: status.map_or_else(|error| error.to_string(), |s| s.to_string()),
                    tail: log::tail(&log_path, EVIDENCE_LINES),
                });
            }
        };
        tracing::debug!(child.name = %spec.name, child.pid = pid, "child started");
        let (sender, state) = watch::channel(State::default());
        tokio::spawn(follow(process, events, sender, tag.clone()));
        Ok(Child {
            spec,
            supervisor: self.clone(),
            supervisor_pid,
            pid,
            tag,
            log_path,
            lifeline: Mutex::new(lifeline),
            state,
        })
    }

    fn command(&self, spec: &Spec, tag: &str) -> Result<StdCommand, ChildError> {
        let mut args = spec.args.clone();
        let keep_fds: Vec<i32> = (FIRST_FD..).take(spec.listeners.len()).collect();
        for ((name, _), fd) in spec.listeners.iter().zip(&keep_fds) {
            args.extend(["--listen-fd".into(), format!("{name}={fd}").into()]);
        }
        let log = spec.log.as_deref().map(absolute);
        let launch = Launch {
            log: log.clone(),
            log_cap: spec.log_cap,
            grace: spec.grace,
            keep_fds,
            program: program_path(&spec.program).into(),
            args,
        };
        let mut command = StdCommand::new(program_path(&self.program));
        command.args(launch.to_args()).env_clear().envs(&spec.env).env(CHILD_ENV, tag);
        if let Some(cwd) = &spec.cwd {
            if !cwd.is_dir() {
                let (name, path) = (spec.name.clone(), cwd.clone());
                return Err(ChildError::Cwd { name, path });
            }
            command.current_dir(cwd);
        }
        // What the supervisor itself has to say, such as a missing library, lands in the log too.
        command.stderr(match &log {
            Some(path) => Stdio::from(open_log(path).map_err(|source| ChildError::Log {
                name: spec.name.clone(),
                path: path.clone(),
                source,
            })?),
            None => Stdio::null(),
        });
        pass_listeners(&mut command, spec)?;
        Ok(command)
    }
}

/// Reads until the supervisor is gone, then says so. Runs on its own so that the supervisor is
/// waited for even when the [`Child`] was dropped.
async fn follow(
    mut process: Process,
    mut events: Lines<BufReader<ChildStdout>>,
    state: watch::Sender<State>,
    tag: String,
) {
    while let Some(event) = next_event(&mut events).await {
        match event {
            Event::Exited(exit) => {
                state.send_modify(|state| state.exit = Some(exit));
            }
            Event::Leftover { pids } => state.send_modify(|state| state.leftovers = pids),
            Event::Started { .. } | Event::SpawnFailed { .. } => {}
        }
    }
    let status = process.wait().await;
    if !status.is_ok_and(|status| status.success()) {
        // The supervisor was killed. The kernel ends the program itself with it; what was below
        // the program is found by its tag.
        sweep(tag).await;
    }
    state.send_modify(|state| {
        state.exit.get_or_insert(Exit::UNSEEN);
        state.gone = true;
    });
}

async fn sweep(tag: String) {
    let swept = tokio::task::spawn_blocking(move || census::kill_carrying(CHILD_ENV, &tag)).await;
    for left in swept.unwrap_or_default() {
        tracing::warn!(leftover = %left, "killed what a lost supervisor left behind");
    }
}

/// The next event; a line that is none, from a supervisor of another version, is passed over.
async fn next_event(events: &mut Lines<BufReader<ChildStdout>>) -> Option<Event> {
    loop {
        let line = events.next_line().await.ok()??;
        if let Ok(event) = serde_json::from_str(&line) {
            return Some(event);
        }
        tracing::warn!(line, "unknown line from the supervisor");
    }
}

fn program_error(spec: Spec, error: String, reason: SpawnFailure) -> ChildError {
    let hint = match reason {
        SpawnFailure::NotFound => {
            "build it, or check the path (a script also needs its interpreter)"
        }
        SpawnFailure::NotExecutable => "make it executable, or check who may run it",
        SpawnFailure::Other => "check the limits of processes and memory",
    };
    ChildError::Program { name: spec.name, program: spec.program, error, hint }
}

/// Unique over processes and time, so that no two children ever share it.
fn child_tag() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}-{at}-{n}", std::process::id())
}

/// A path is fixed before the working directory changes; a bare name is left to `PATH`.
fn program_path(program: &Path) -> PathBuf {
    if program.components().count() > 1 { absolute(program) } else { program.to_owned() }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn open_log(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(unix)]
fn pass_listeners(command: &mut StdCommand, spec: &Spec) -> Result<(), ChildError> {
    use command_fds::{CommandFdExt, FdMapping};

    let mut mappings = Vec::new();
    for ((name, listener), child_fd) in spec.listeners.iter().zip(FIRST_FD..) {
        let copy = listener.try_clone().map_err(|source| ChildError::Descriptor {
            name: spec.name.clone(),
            what: format!("listener `{name}`"),
            source,
        })?;
        mappings.push(FdMapping { parent_fd: copy.into(), child_fd });
    }
    if !mappings.is_empty() {
        command.fd_mappings(mappings).expect("the numbers count up, so no two are the same");
    }
    Ok(())
}

#[cfg(not(unix))]
fn pass_listeners(_command: &mut StdCommand, _spec: &Spec) -> Result<(), ChildError> {
    Ok(())
}
