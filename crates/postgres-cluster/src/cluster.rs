//! The cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dialtone_auth::Secret;
use dialtone_child::{Child, Signal, Spec, Supervisor};

use crate::folder::{Folder, User, random};
use crate::{Binaries, ClusterError};

/// How long `initdb` and the server's start may take together; a second on a quiet machine.
const READY: Duration = Duration::from_secs(60);
/// Pause between two looks at the server's state.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that an error carries.
const EVIDENCE: usize = 8;
/// How long the server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// The one user of the cluster; may do everything in it.
const USER: &str = "dialtone";

/// What a cluster is for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Marks its processes as part of this run.
    pub run: String,
    /// Where its log goes; into its folder where there is none.
    pub log: Option<PathBuf>,
    /// Whether commits are flushed to disk: without it nothing that a cluster holds outlives
    /// the machine, which is all the same to a test of what statements do.
    pub durable: bool,
}

/// A PostgreSQL server of its own. Dropped, it is killed; [`Cluster::stop`] is the good end.
#[derive(Debug)]
pub struct Cluster {
    child: Child,
    password: Secret,
    /// After the child: removed when nothing writes there any more.
    folder: Folder,
}

impl Cluster {
    /// Makes a cluster and starts its server; returns when it takes connections.
    ///
    /// # Errors
    /// If a program cannot be started, fails, or takes too long.
    pub async fn start(
        supervisor: &Supervisor,
        binaries: &Binaries,
        options: &Options,
    ) -> Result<Self, ClusterError> {
        let begun = Instant::now();
        let folder = Folder::make()?;
        let password = Secret::new(random(16)?);
        let data = folder.path().join("data");
        initdb(supervisor, binaries, options, &folder, &password).await?;
        let mut spec = as_user("postgres", binaries.postgres(), folder.user())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .run_tag(&options.run)
            .log(options.log.clone().unwrap_or_else(|| folder.path().join("postgres.log")))
            .grace(GRACE)
            .cwd(folder.path());
        for setting in SETTINGS {
            spec = spec.args(["-c", setting]);
        }
        if !options.durable {
            spec = spec.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        let child = supervisor.start(spec).await?;
        let cluster = Self { child, password, folder };
        cluster.ready(begun).await?;
        Ok(cluster)
    }

    /// The URL of its database, with the password: it goes into environments and nowhere else.
    pub fn url(&self) -> Secret {
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        Secret::new(format!("postgres://{USER}:{}@{host}/postgres", self.password.expose()))
    }

    /// The folder with its socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The server.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Kills the server and all its processes in an instant, as a power cut would.
    pub async fn kill(&self) {
        self.child.kill().await;
    }

    /// Starts the server again on what it has left; returns when it takes connections.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn restart(&mut self) -> Result<(), ClusterError> {
        self.child = self.child.respawn().await?;
        self.ready(Instant::now()).await
    }

    /// Ends the server and removes all that it has written.
    pub async fn stop(self) {
        // Nobody will read what it has not written yet.
        if self.child.signal(Signal::Quit).is_ok() {
            let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        }
        self.child.stop().await;
    }

    async fn ready(&self, begun: Instant) -> Result<(), ClusterError> {
        let state = self.folder.path().join("data/postmaster.pid");
        loop {
            if let Some(exit) = self.child.try_exit() {
                let (exit, log) = (exit.to_string(), self.child.log_tail(EVIDENCE));
                return Err(ClusterError::Ended { exit, log });
            }
            if is_ready(&state, &self.child) {
                return Ok(());
            }
            if begun.elapsed() > READY {
                let log = self.child.log_tail(EVIDENCE);
                return Err(ClusterError::NotReady { within: READY, log });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Small, and on no port.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=64MB",
    "log_min_messages=warning",
];

/// The server says in its pid file how far it is: the first line is its pid, the eighth its
/// state. A server that was killed leaves its file, with another pid.
fn is_ready(state: &Path, child: &Child) -> bool {
    let Ok(text) = std::fs::read_to_string(state) else { return false };
    let mut lines = text.lines();
    let own = lines.next().and_then(|pid| pid.trim().parse().ok()) == Some(child.pid());
    own && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

async fn initdb(
    supervisor: &Supervisor,
    binaries: &Binaries,
    options: &Options,
    folder: &Folder,
    password: &Secret,
) -> Result<(), ClusterError> {
    // Not an argument: those are for every user of the machine to read.
    let file = folder.write("password", password.expose())?;
    let spec = as_user("initdb", binaries.initdb(), folder.user())
        .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8"])
        .args(["--locale", "C", "--no-sync", "--no-instructions", "--pwfile"])
        .arg(file)
        .arg("--pgdata")
        .arg(folder.path().join("data"))
        .run_tag(&options.run)
        .log(folder.path().join("initdb.log"))
        .cwd(folder.path());
    let child = supervisor.start(spec).await?;
    let exit = child.wait().await;
    if exit.code != Some(0) {
        let log = child.log_tail(EVIDENCE);
        return Err(ClusterError::Initdb { exit: exit.to_string(), log });
    }
    child.stop().await;
    Ok(())
}

/// A program that runs as `user`, or as who this process is.
fn as_user(name: &str, program: PathBuf, user: Option<User>) -> Spec {
    let Some(User { uid, gid }) = user else { return Spec::new(name, program) };
    // It becomes the program: no process stands between.
    Spec::new(name, "setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={gid}")])
        .args(["--clear-groups", "--"])
        .arg(program)
}
