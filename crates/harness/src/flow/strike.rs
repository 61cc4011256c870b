//! Killing services of the stack on purpose while the batch runs, and waiting for their return.

use std::time::Duration;

use dialtone_clock::{Clock as _, ScaledClock, Timestamp};
use dialtone_contract::ErrorCode;
use dialtone_contract::wire::BatchStatus;
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use super::agreement::Agreement;
use super::watch::Watch;
use crate::drill::{Kill, Moment, Victim};
use crate::event::Bus;
use crate::failure::Failure;
use crate::outage::Outage;
use crate::stack::Stack;

/// How far a batch is, as far as moments care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Entries that have ended.
    pub ended: u32,
    /// Entries in all; 0 as long as nothing is known.
    pub total: u32,
    /// Whether the batch itself has ended.
    pub over: bool,
}

impl From<&BatchStatus> for Standing {
    fn from(status: &BatchStatus) -> Self {
        Self {
            ended: status.completed_calls + status.failed_calls + status.cancelled_calls,
            total: status.total_calls,
            over: status.status.is_terminal(),
        }
    }
}

/// The moments of one batch.
#[derive(Clone)]
pub struct Moments {
    /// Product time, on the timeline of the stack.
    pub clock: ScaledClock,
    /// When the batch was triggered.
    pub begun: Timestamp,
    /// How far it is.
    pub standing: watch::Receiver<Standing>,
}

impl Moments {
    /// Waits for the first of these to come and gives its place; `None` if the batch ends before
    /// any of them.
    pub async fn first(&self, moments: &[Moment]) -> Option<usize> {
        let mut standing = self.standing.clone();
        loop {
            let Standing { ended, total, over } = *standing.borrow_and_update();
            let since = self.clock.now().since(self.begun);
            let known = total > 0;
            let come = |moment: &Moment| match moment {
                Moment::Share(_) => known && moment.has_come(ended, total, since),
                Moment::After(_) => moment.has_come(ended, total, since),
            };
            if over || moments.is_empty() {
                return None;
            }
            if let Some(place) = moments.iter().position(come) {
                return Some(place);
            }
            tokio::select! {
                changed = standing.changed() => changed.ok()?,
                () = self.next_timer(moments, since) => {}
            }
        }
    }

    /// Sleeps until the next moment that the clock alone brings.
    async fn next_timer(&self, moments: &[Moment], since: Duration) {
        let spans = moments.iter().filter_map(|moment| match moment {
            Moment::After(span) => Some(span.saturating_sub(since)),
            Moment::Share(_) => None,
        });
        match spans.min() {
            Some(span) => sleep(self.clock.scale().story(span)).await,
            None => std::future::pending().await,
        }
    }
}

/// A kill that took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// What was asked for.
    pub kill: Kill,
    /// What came of it.
    pub outage: Outage,
}

/// Plays the kills of a run.
pub struct Striker<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// What is known about the run.
    pub watch: &'a Watch,
    /// Who follows the batch's events.
    pub agreement: &'a Agreement,
    /// Base URL of `livekit-dev`, where it is part of the stack.
    pub livekit_dev: Option<&'a str>,
    /// Who is told.
    pub bus: &'a Bus,
    /// When.
    pub moments: Moments,
}

impl Striker<'_> {
    /// Plays these kills, those of different services side by side; gives those whose moment came
    /// before the end of the batch.
    ///
    /// # Errors
    /// If a service had ended by itself, or does not come back.
    pub async fn play(&self, kills: &[Kill]) -> Result<Vec<Strike>, Failure> {
        let of = |victim| kills.iter().filter(|kill| kill.victim == victim).copied().collect();
        let each = Victim::ALL.map(|victim| self.strike_one(victim, of(victim)));
        let mut strikes = try_join_all(each).await?.concat();
        strikes.sort_by_key(|strike| strike.outage.from);
        Ok(strikes)
    }

    /// A service is killed again only when it is back.
    async fn strike_one(
        &self,
        victim: Victim,
        mut left: Vec<Kill>,
    ) -> Result<Vec<Strike>, Failure> {
        let mut strikes = Vec::new();
        loop {
            let moments: Vec<Moment> = left.iter().map(|kill| kill.at).collect();
            let Some(place) = self.moments.first(&moments).await else { return Ok(strikes) };
            let kill = left.remove(place);
            let outage = self.strike(victim).await?;
            strikes.push(Strike { kill, outage });
        }
    }

    async fn strike(&self, victim: Victim) -> Result<Outage, Failure> {
        let Self { stack, watch, agreement, livekit_dev, bus, moments } = self;
        let member = stack.member(victim.as_str()).ok_or_else(|| {
            Failure::new(ErrorCode::Usage, format!("{victim} is not part of this stack"))
        })?;
        let counted = moments.clock.now();
        watch.before_kill(stack, *livekit_dev).await;
        let from = moments.clock.now();
        let mark = agreement.kill(victim, from);
        member.strike(bus).await?;
        if victim == Victim::LivekitDev {
            watch.livekit_killed();
        }
        // Nothing that happens from now on is the old process's doing.
        let revived = moments.clock.now();
        member.revive(bus).await?;
        agreement.revived(mark, revived);
        stack.ready_again(member).await?;
        if victim == Victim::LivekitDev {
            watch.registered_again(stack, *livekit_dev).await?;
        }
        Ok(Outage { victim, counted, from, until: moments.clock.now() })
    }
}

#[cfg(test)]
mod tests {
    use dialtone_clock::{TimeScale, Timeline};

    use super::*;

    fn moments() -> (watch::Sender<Standing>, Moments) {
        let clock = ScaledClock::new(Timeline::starting_now(TimeScale::MAX));
        let (told, standing) = watch::channel(Standing::default());
        (told, Moments { begun: clock.now(), clock, standing })
    }

    const HALF: Moment = Moment::Share(50);
    const NEVER: Moment = Moment::After(Duration::from_secs(1_000_000));

    #[tokio::test]
    async fn the_first_moment_that_comes_is_played_and_none_after_the_end() {
        let (told, moments) = moments();
        let standing = |ended, over| Standing { ended, total: 10, over };
        told.send_replace(standing(4, false));
        let (place, ()) = tokio::join!(moments.first(&[NEVER, HALF]), async {
            told.send_replace(standing(5, false));
        });
        assert_eq!(place, Some(1));
        let soon = Moment::After(Duration::from_millis(1));
        assert_eq!(moments.first(&[NEVER, soon]).await, Some(1), "the clock brings it");
        let late = [NEVER, Moment::Share(90)];
        let (place, ()) = tokio::join!(moments.first(&late), async {
            told.send_replace(standing(10, true));
        });
        assert_eq!(place, None, "the batch has ended");
    }
}
