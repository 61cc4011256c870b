//! Waiting until the stack can take work.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Member, Stack};
use crate::envelope::millis;
use crate::event::{Bus, Event};
use crate::failure::Failure;
use crate::http::{Http, chain};
use crate::span;

/// How often a service that is not ready is asked again.
const POLL: Duration = Duration::from_millis(15);
/// How long one question may take. The harness holds the listener too, so a service that does not
/// accept yet is no refused connection but a silent one.
const PROBE: Duration = Duration::from_secs(1);
/// How long one liveness question may take while a run goes on.
pub(super) const LIVE: Duration = Duration::from_secs(1);

/// What `/livez` says. Only what the harness reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Livez {
    /// What the process was started with.
    #[serde(default)]
    pub nonce: Option<String>,
    /// Its process id.
    #[serde(default)]
    pub pid: u32,
    /// The largest lag of its event loop since its start.
    #[serde(default)]
    pub loop_lag_max_ms: f64,
}

impl Stack {
    /// Waits until every service can take work.
    ///
    /// # Errors
    /// At once if one ends or a stranger answers on its port; after the time if one is not ready.
    pub async fn ready(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.ready_within;
        let mut waiting = JoinSet::new();
        let mut reasons = Vec::new();
        for member in &self.members {
            let (said, reason) = watch::channel("nothing asked yet".to_owned());
            reasons.push((member.clone(), reason));
            let (member, http, bus) = (member.clone(), self.http.clone(), self.bus.clone());
            waiting.spawn(async move {
                let name = member.name.clone();
                tokio::select! {
                    failure = member.death(&bus) => Err(failure),
                    ready = member.until_ready(&http, &bus, &said) => ready.map(|()| name),
                }
            });
        }
        loop {
            match timeout_at(deadline, waiting.join_next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(Ok(name)))) => reasons.retain(|(member, _)| member.name != name),
                Ok(Some(Ok(Err(failure)))) => return Err(failure),
                Ok(Some(Err(error))) => {
                    let message = format!("a wait broke off: {error}");
                    return Err(Failure::new(ErrorCode::Internal, message));
                }
                Err(_) => {
                    let last = reasons.iter().map(|(m, r)| (m, r.borrow().clone())).collect();
                    return Err(too_late(self.ready_within, last));
                }
            }
        }
    }
}

impl Stack {
    /// Waits until one service that was started again can take work.
    ///
    /// # Errors
    /// If it ends, a stranger answers on its port, or it is not ready in time.
    pub async fn ready_again(&self, member: &Member) -> Result<(), Failure> {
        let (said, reason) = watch::channel("nothing asked yet".to_owned());
        let ready = async {
            tokio::select! {
                failure = member.death(&self.bus) => Err(failure),
                ready = member.until_ready(&self.http, &self.bus, &said) => ready,
            }
        };
        match timeout_at(Instant::now() + self.ready_within, ready).await {
            Ok(ready) => ready,
            Err(_) => Err(too_late(self.ready_within, vec![(member, reason.borrow().clone())])),
        }
    }
}

impl Member {
    /// Asks until the service is ready, and keeps the last reason why it is not.
    async fn until_ready(
        &self,
        http: &Http,
        bus: &Bus,
        said: &watch::Sender<String>,
    ) -> Result<(), Failure> {
        loop {
            match self.probe(http).await {
                Ok(None) => {
                    let duration_ms = millis(self.started().elapsed());
                    bus.emit(Event::ServiceReady { name: self.name.clone(), duration_ms });
                    return Ok(());
                }
                Ok(Some(reason)) => {
                    said.send_replace(reason);
                }
                Err(stranger) => return Err(stranger),
            }
            sleep(POLL).await;
        }
    }

    /// `None` if it can take work, else the reason why not.
    async fn probe(&self, http: &Http) -> Result<Option<String>, Failure> {
        let live = match http.json::<Livez>(&format!("{}/livez", self.url), PROBE).await {
            Ok(live) => live,
            Err(error) => return Ok(Some(self.silence(&chain(&error)))),
        };
        if live.nonce.as_deref() != Some(self.nonce.as_str()) {
            return Err(self.stranger(&live));
        }
        let url = format!("{}/readyz", self.url);
        Ok(match http.get(&url, &[], PROBE).await {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(match answer.problem() {
                Some(problem) => problem.detail,
                None => format!("/readyz answered {}", answer.status.as_u16()),
            }),
            Err(error) => Some(self.silence(&chain(&error))),
        })
    }

    /// Asks `/livez` once.
    pub async fn livez(&self, http: &Http) -> Result<Livez, String> {
        let url = format!("{}/livez", self.url);
        http.json(&url, LIVE).await.map_err(|error| chain(&error))
    }

    fn silence(&self, error: &str) -> String {
        match proc_state(self.pid()) {
            Some('T' | 't') => format!("the process is stopped (SIGSTOP); {error}"),
            _ => error.to_owned(),
        }
    }

    fn stranger(&self, live: &Livez) -> Failure {
        let what = match &live.nonce {
            Some(_) => "another process's nonce",
            None => "no nonce",
        };
        let message = format!(
            "what answers at {} is not the {} that was started (pid {}): it shows {what} and pid {}",
            self.url,
            self.name,
            self.pid(),
            live.pid
        );
        Failure::new(ErrorCode::NotReady, message).hint(
            "stop the process that answers there, or check that the binary is of this version",
        )
    }
}

fn too_late(within: Duration, waiting: Vec<(&Member, String)>) -> Failure {
    let names: Vec<_> = waiting.iter().map(|(member, _)| member.name.as_str()).collect();
    let message = format!("{} not ready within {}", names.join(", "), span::human(within));
    let mut evidence = Vec::new();
    for (member, reason) in waiting {
        evidence.push(format!("{}: {reason}", member.name));
        let tail = member.log_tail(5);
        evidence.extend(tail.lines().map(|line| format!("  {line}")));
    }
    Failure::new(ErrorCode::ReadyTimeout, message).evidence(evidence)
}

/// The state letter of a process: `R`, `S`, `T` (stopped), `Z`, ... `None` where the system does
/// not tell.
pub fn proc_state(pid: u32) -> Option<char> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    state_letter(&String::from_utf8_lossy(&stat))
}

/// The name in a stat line can hold spaces and brackets; the state follows the last bracket.
fn state_letter(stat: &str) -> Option<char> {
    stat.get(stat.rfind(')')? + 1..)?.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_last_bracket() {
        assert_eq!(state_letter("7 (a) b (c)) T 3 7"), Some('T'));
        assert_eq!(state_letter("7 (a"), None);
    }
}
