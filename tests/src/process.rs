use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use dialtone_child::{Child, Exit, Signal, Spec, Supervisor};
use dialtone_serve::address_file::NONCE_ENV;
use hyper::Method;
use serde_json::Value;

use crate::wait::{soon, until};
use crate::{Api, bins};

/// Lines of log that a failure shows of each process.
const TAIL_LINES: usize = 12;

/// Time between TERM and KILL: longer than every drain, so that a KILL is a fault.
const GRACE: Duration = Duration::from_secs(25);

/// A server process of the stack. Its port is ours, and survives its crashes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    api: Api,
    nonce: String,
}

/// How a process is called and started.
pub(crate) struct Start<'a> {
    /// The binary, and its name in messages.
    pub binary: &'a str,
    /// Name of its listener.
    pub listener: &'a str,
    /// Tag of the run.
    pub run: &'a str,
    /// Folder for its log.
    pub dir: &'a Path,
}

impl Start<'_> {
    /// A listener on a free port, and the URL that it will be reached at.
    pub fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, format!("http://{address}"))
    }

    /// Starts the binary and waits until it is ready.
    pub async fn ready(
        &self,
        (listener, url): (TcpListener, String),
        with: impl FnOnce(Spec) -> Spec,
    ) -> Process {
        let nonce = format!("{}-{}", self.run, self.binary);
        let spec = Spec::new(self.binary, bins().join(self.binary))
            .env(NONCE_ENV, &nonce)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .run_tag(self.run)
            .log(self.dir.join(format!("{}.log", self.binary)))
            .grace(GRACE);
        let spec = with(spec).listener(self.listener, listener);
        let child = supervisor().start(spec).await.expect("started");
        let process = Process { child, api: Api::new(url), nonce };
        process.ready().await;
        process
    }
}

/// Starts children under the built `supervise`.
pub(crate) fn supervisor() -> Supervisor {
    Supervisor::new(bins().join("supervise"))
}

impl Process {
    /// Its name.
    pub fn name(&self) -> &str {
        self.child.name()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its HTTP surface.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).expect("signalled");
    }

    /// How it ends, once it does.
    pub async fn ended(&self) -> Exit {
        soon(&format!("the end of {}", self.name()), self.child.wait()).await
    }

    /// SIGKILL; gone when this returns.
    pub async fn kill(&self) {
        let exit = self.child.kill().await;
        assert_eq!(exit.signal, Some(9), "{} ended otherwise: {exit}", self.name());
    }

    /// Starts it again, on the same listener and with the same arguments, and waits
    /// until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.child = self.child.respawn().await.expect("started again");
        self.ready().await;
    }

    /// Waits until `/readyz` says so, and makes sure that it is this process that says it.
    ///
    /// # Panics
    /// If the process ends, another one answers, or the ceiling has passed.
    pub async fn ready(&self) {
        let what = format!("{} to be ready", self.name());
        until(&what, async || {
            let asked = self.api.send(Method::GET, "/readyz", &[], None);
            let answer = tokio::select! {
                exit = self.child.wait() => panic!("{what}: {exit}\n{}", self.tail()),
                answer = asked => answer.map_err(|error| error.to_string())?,
            };
            if answer.status() == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
        let live = self.api.get("/livez").await.ok();
        assert_eq!(live["nonce"], Value::from(self.nonce.as_str()), "another server answers");
    }

    /// A counter or gauge of `/metrics`, by its full name.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.api.get("/metrics").await.text();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = found.unwrap_or_else(|| panic!("no metric {name} in {text}"));
        value.parse().expect("a number")
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.child.log_tail(TAIL_LINES)
    }

    /// What a failure tells of it: how its loop turned, and the end of its log.
    pub(crate) async fn account(&self) -> String {
        let asked = self.api.send(Method::GET, "/livez", &[], None);
        let lag = match tokio::time::timeout(Duration::from_secs(1), asked).await {
            Ok(Ok(answer)) => {
                let live: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
                format!("loop lag at most {} ms", live["loop_lag_max_ms"])
            }
            _ => "no answer".to_owned(),
        };
        let (name, pid) = (self.name(), self.pid());
        // `T` is stopped: somebody sent it a SIGSTOP.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let state = state.unwrap_or('?');
        format!("--- {name} (pid {pid}, state {state}, {lag})\n{}\n", self.tail())
    }

    pub(crate) async fn stop(&self) -> Exit {
        self.child.stop().await
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.child.try_exit().is_some()
    }
}
