use std::time::Duration;

use dialtone_batch::{Control, ControlError};
use dialtone_clock::rng_for;
use dialtone_contract::{BatchId, CancelMode, TenantId};
use rand::Rng as _;

use crate::faults::{Fault, Selection};
use crate::task::Owner;
use crate::world::{Event, World};

/// Something that a user orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Claim nothing more.
    Pause,
    /// Claim again.
    Resume,
    /// Cancel what waits, and calls as this says.
    Cancel(CancelMode),
    /// Change the calls at once.
    Limit(u32),
}

/// What users order in one simulation, and when after its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// A pause, and how long it lasts.
    pub pause: Option<(Duration, Duration)>,
    /// A first cancel.
    pub cancel: Option<(Duration, CancelMode)>,
    /// A second one.
    pub cancel_again: Option<(Duration, CancelMode)>,
    /// New calls at once, fewer than the batch asked for.
    pub limit: Option<(Duration, u32)>,
}

impl Orders {
    /// Orders of a seed: half of the batches are left alone.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = rng_for(seed, &[b"orders"]);
        let mut below = |n: u32| rng.next_u32() % n;
        if below(2) == 0 {
            return Self::default();
        }
        let mode = |n| if n == 0 { CancelMode::Drain } else { CancelMode::Hangup };
        let mut at = || Duration::from_millis(u64::from(100 + below(180_000)));
        let (pause, cancel, again, limit) = (at(), at(), at(), at());
        let lasts = Duration::from_secs(u64::from(5 + below(180)));
        Self {
            pause: (below(2) == 0).then_some((pause, lasts)),
            cancel: (below(2) == 0).then(|| (cancel, mode(below(2)))),
            cancel_again: (below(3) == 0).then(|| (cancel + again, mode(below(2)))),
            limit: (below(3) == 0).then(|| (limit, 1 + below(3))),
        }
    }

    /// The same with those alone that are selected.
    #[must_use]
    pub fn only(mut self, selection: &Selection) -> Self {
        let keep = |fault| selection.has(fault);
        self.pause = self.pause.filter(|_| keep(Fault::Pause));
        self.cancel = self.cancel.filter(|_| keep(Fault::Cancel));
        self.cancel_again = self.cancel_again.filter(|_| keep(Fault::CancelAgain));
        self.limit = self.limit.filter(|_| keep(Fault::Limit));
        self
    }

    /// Lets them happen.
    pub fn schedule(&self, world: &World) {
        let order = |at, order| world.after(at, Event::Order { order });
        if let Some((at, lasts)) = self.pause {
            order(at, Order::Pause);
            order(at + lasts, Order::Resume);
        }
        for (at, mode) in self.cancel.into_iter().chain(self.cancel_again) {
            order(at, Order::Cancel(mode));
        }
        if let Some((at, n)) = self.limit {
            order(at, Order::Limit(n));
        }
    }
}

/// A user who asks until he has an answer.
pub struct User {
    pub world: World,
    pub tenant: TenantId,
    pub batch: BatchId,
    /// Whether the batch was cancelled before.
    pub again: bool,
}

impl User {
    /// Gives the order to a server; asks again if nobody knows what became of it.
    pub async fn give(self, owner: Owner, control: &Control, order: Order) {
        let Self { world, tenant, batch, again } = self;
        let answer = match order {
            Order::Pause => control.pause(&tenant, &batch).await,
            Order::Resume => control.resume(&tenant, &batch).await,
            Order::Cancel(mode) => control.cancel(&tenant, &batch, mode).await,
            Order::Limit(n) => {
                let told = |now| dialtone_store::BatchLimits { max_concurrent: Some(n), ..now };
                control.limit(&tenant, &batch, told).await
            }
        };
        world.note(|| format!("server {} answers {order:?} with {answer:?}", owner.server));
        if answer.is_ok() {
            world.saw(match order {
                Order::Pause | Order::Resume => Fault::Pause,
                Order::Cancel(_) if again => Fault::CancelAgain,
                Order::Cancel(_) => Fault::Cancel,
                Order::Limit(_) => Fault::Limit,
            });
        }
        if matches!(answer, Err(ControlError::Store(_))) {
            world.after(Duration::from_secs(3), Event::Order { order });
        }
    }
}
