//! How an agent goes wrong that was told to, and whether the platform bore it as it has to.

use std::time::Duration;

use dialtone_agent_worker::{JobFailure, JobResult};
use dialtone_contract::wire::HeartbeatState;
use dialtone_contract::{PlannedOutcome, limits};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep};

use crate::api::{Answered, CALLBACK};
use crate::call::Call;
use crate::lost;

/// Wire time in which a platform that works has completed an entry whose callback it no
/// longer waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Played {
    /// The platform answered as it has to.
    AsScripted,
    /// Something beside the script went wrong, so that nobody can tell.
    Disturbed,
    /// The platform answered as it must not.
    Wrong,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    plan: &'static str,
    result: &'static str,
}

/// How many scripts were played, with what result.
#[derive(Clone, Default)]
pub struct Scripts(Family<Labels, Counter>);

impl Scripts {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Calls that went wrong by script, by how the platform bore it";
        registry.register("test_worker_scripts", help, self.0.clone());
    }

    fn count(&self, plan: PlannedOutcome, played: Played) {
        let result = match played {
            Played::AsScripted => "as_scripted",
            Played::Disturbed => "disturbed",
            Played::Wrong => "wrong",
        };
        self.0.get_or_create(&Labels { plan: plan.as_str(), result }).inc();
    }

    /// A job was refused as its script wants.
    pub fn refused(&self) {
        self.count(PlannedOutcome::NeverAccepts, Played::AsScripted);
    }
}

impl Call<'_> {
    /// Says what came of a call that lasted so long, as its plan wants.
    pub async fn report(&self, plan: PlannedOutcome, lasted: Duration) -> JobResult {
        let played = match plan {
            PlannedOutcome::LateCallback => self.late(plan, lasted).await,
            PlannedOutcome::DuplicateCallback => self.twice(plan, lasted).await,
            PlannedOutcome::LostCallback => self.unheard(plan, lasted).await,
            _ => return self.send(&self.callback(plan.expected(), lasted)).await.map(drop),
        };
        self.simulator.scripts.count(plan, *played.as_ref().unwrap_or(&Played::Disturbed));
        match played? {
            Played::Wrong => {
                tracing::error!(call.id = %self.metadata.call_id, %plan, "not as it has to be");
                Err(JobFailure::new(format!("{plan}: the platform answered as it must not")))
            }
            Played::AsScripted | Played::Disturbed => Ok(()),
        }
    }

    /// Waits until the platform has completed the entry from the call log, and only then
    /// sends the callback, which has to find it done.
    async fn late(&self, plan: PlannedOutcome, lasted: Duration) -> Result<Played, JobFailure> {
        let grace = self.simulator.scale.guard(limits::CALLBACK_GRACE);
        sleep(grace).await;
        let until = Instant::now() + PATIENCE;
        let mut over = false;
        while !over && Instant::now() < until {
            // The answer tells when the attempt has ended; it keeps no closed call alive.
            over = matches!(self.beat_once(HeartbeatState::InCall).await, Ok(false));
            sleep(grace / 8).await;
        }
        let applied = self.send(&self.callback(plan.expected(), lasted)).await?.answer;
        Ok(match (over, applied) {
            (true, false) => Played::AsScripted,
            (true, true) => Played::Wrong,
            (false, _) => Played::Disturbed,
        })
    }

    /// Sends the callback twice: it has to be applied once.
    async fn twice(&self, plan: PlannedOutcome, lasted: Duration) -> Result<Played, JobFailure> {
        let callback = self.callback(plan.expected(), lasted);
        let Answered { answer: first, repeated } = self.send(&callback).await?;
        let second = self.send(&callback).await?.answer;
        Ok(match (first, second) {
            (_, true) => Played::Wrong,
            (true, false) => Played::AsScripted,
            (false, false) if repeated => Played::Disturbed,
            (false, false) => Played::Wrong,
        })
    }

    /// Sends the callback and does not hear the answer, then sends it again: one that was
    /// answered has to be known.
    async fn unheard(&self, plan: PlannedOutcome, lasted: Duration) -> Result<Played, JobFailure> {
        let callback = self.callback(plan.expected(), lasted);
        let url = format!("{}{CALLBACK}", self.metadata.api_url.trim_end_matches('/'));
        let body = serde_json::to_string(&callback).expect("plain data");
        // Half of them hang up before the platform can have answered.
        let at_once = self.chance(b"lost").is_multiple_of(2);
        let cut = lost::post_and_cut(&url, &self.metadata.capability, &body, at_once).await;
        let Answered { answer: applied, repeated } = self.send(&callback).await?;
        Ok(match cut {
            Ok(true) if applied => Played::Wrong,
            Ok(answered) if (answered || at_once) && !repeated => Played::AsScripted,
            _ => Played::Disturbed,
        })
    }

    /// Talks, and is gone in the middle of it.
    pub async fn crash(&self, lasts: Duration) -> JobResult {
        let Some(dial) = self.unless_terminated(self.claim()).await?? else { return Ok(()) };
        self.unless_terminated(self.ring_and_talk(&dial, lasts / 2, true)).await??;
        self.simulator.scripts.count(PlannedOutcome::CrashInCall, Played::AsScripted);
        Err(JobFailure::new("crashed in the call, as planned"))
    }

    /// Rings until the platform has had enough of it.
    pub async fn ring(&self) -> JobResult {
        let Some(dial) = self.unless_terminated(self.claim()).await?? else { return Ok(()) };
        // Ends when the room is closed, when a beat is answered so, or with the budget.
        let stopped = self.unless_terminated(self.ring_and_talk(&dial, Duration::MAX, false)).await;
        tracing::debug!(call.id = %self.metadata.call_id, ?stopped, "rang for long enough");
        self.simulator.scripts.count(PlannedOutcome::RingsForever, Played::AsScripted);
        Ok(())
    }
}
