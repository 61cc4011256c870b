//! What to run, and how.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::RUN_ENV;

/// Size at which a log is rotated. One older file is kept, so a child takes twice this at most.
pub const LOG_CAP: u64 = 16 * 1024 * 1024;

/// Time between TERM and KILL when nothing else is said.
pub const GRACE: Duration = Duration::from_secs(5);

/// The variables that a child inherits. Everything else, secrets above all, is set by name.
const INHERITED: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TMP",
    "TEMP",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "NO_COLOR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
    "LD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "SYSTEMROOT",
    "WINDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // A child of a tagged child belongs to the same run.
    RUN_ENV,
];

/// A program to run as a child. Cloning is cheap; the clones share the listeners.
#[derive(Clone)]
pub struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) listeners: Vec<(String, Arc<TcpListener>)>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_cap: u64,
    pub(crate) grace: Duration,
    pub(crate) cwd: Option<PathBuf>,
}

impl Spec {
    /// A child called `name` (for messages) that runs `program`.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        let env = INHERITED
            .iter()
            .filter_map(|key| Some((OsString::from(key), std::env::var_os(key)?)))
            .collect();
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env,
            listeners: Vec::new(),
            log: None,
            log_cap: LOG_CAP,
            grace: GRACE,
            cwd: None,
        }
    }

    /// Adds one argument. Arguments are visible to every user of the machine: no secrets here.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one variable. The child sees these and a short allowlist (`PATH`, `HOME`, `TMPDIR`,
    /// `RUST_LOG` and the like), nothing else of this process's environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Passes a bound listener, as `--listen-fd name=N` at the end of the arguments. The spec keeps
    /// it open too, so the port and its queue of waiting connections survive a crash of the child.
    pub fn listener(mut self, name: &str, listener: TcpListener) -> Self {
        self.listeners.push((name.to_owned(), Arc::new(listener)));
        self
    }

    /// Writes stdout and stderr to this file, appending. Without it they are discarded.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Size at which the log is rotated to `<log>.1`; 16 MiB unless set.
    pub fn log_cap(mut self, bytes: u64) -> Self {
        self.log_cap = bytes;
        self
    }

    /// Time between TERM and KILL in [`crate::Child::stop`]; 5 s unless set. When this process dies
    /// it is 1 s at most.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = Some(path.into());
        self
    }

    /// Marks the child and all its descendants as part of this run, for the [`crate::census`].
    pub fn run_tag(self, run: &str) -> Self {
        self.env(RUN_ENV, run)
    }

    /// The name used in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl fmt::Debug for Spec {
    /// Prints the names of variables only: values can be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("name", &self.name)
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("listeners", &self.listeners)
            .field("log", &self.log)
            .field("grace", &self.grace)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_values() {
        let spec = Spec::new("a", "/bin/true").env("DIALTONE_SECRET", "canary");
        let text = format!("{spec:?}");
        assert!(text.contains("DIALTONE_SECRET") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn environment_is_an_allowlist() {
        let spec = Spec::new("a", "/bin/true");
        assert!(spec.env.contains_key(OsStr::new("PATH")));
        assert!(!spec.env.contains_key(OsStr::new("CARGO_MANIFEST_DIR")));
    }
}
