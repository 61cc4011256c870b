use std::sync::Arc;
use std::time::Duration;

use dialtone_batch::IntakeError;
use dialtone_clock::{Clock, Timestamp};
use dialtone_contract::{BatchId, CallId, DispatchMetadata, PlannedOutcome, TenantId, TestPlan};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{Idempotency, Store};

use crate::agent::{Agent, Request};
use crate::clock::SimClock;
use crate::faults::Fault;
use crate::fold::Fold;
use crate::guards::Guards;
use crate::livekit::SimLiveKit;
use crate::oracle::Oracle;
use crate::orders::{Order, User};
use crate::server::Server;
use crate::store::SimStore;
use crate::task::{Owner, Tasks, ready};
use crate::world::{Event, World};
use crate::{Config, Mutant, Outcome};

/// Virtual time after which faults end.
const FAULTS_END: Duration = Duration::from_secs(20 * 60);
/// Virtual time in which a batch has to end once nothing goes wrong any more.
const LIVENESS: Duration = Duration::from_secs(4 * 3600);
/// Virtual time that the world runs on with its faults after the batch's end, to see that
/// nothing moves, and then without, to see that everything left over is done.
const AFTERMATH: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// Virtual time between faults that are not of one moment.
const WEATHER_EVERY: Duration = Duration::from_secs(30);
/// Virtual time after which the client asks for its batch again.
const TRIGGER_AGAIN: Duration = Duration::from_secs(5);
/// Virtual time in which numbers are suppressed.
const SUPPRESSED_WITHIN: Duration = Duration::from_secs(90);
/// Plans before the first one that is a fault.
const PLAIN: usize = PlannedOutcome::LateCallback as usize;
/// The client's idempotency key.
const KEY: &str = "the batch";

/// A simulation under way.
pub struct Run {
    pub config: Config,
    pub world: World,
    pub engine: Arc<dyn Store>,
    /// The engine as an outsider sees it.
    pub outside: Arc<SimStore>,
    pub guards: Arc<Guards>,
    pub livekit: Arc<SimLiveKit>,
    pub tenant: TenantId,
    /// The batch, once it has been accepted.
    pub batch: Option<BatchId>,
    pub oracle: Oracle,
    pub outcome: Outcome,
    wall: SimClock,
    tasks: Tasks,
    servers: Vec<Option<Arc<Server>>>,
    lives: u64,
    agents: Vec<Agent>,
    fold: Option<Fold>,
    /// Commits that were looked at.
    looked: u64,
    /// Most calls seen in flight at once, once they were too many.
    most_in_flight: u32,
    /// Violations that the trace has: the oracle's and the guards'.
    marked: (usize, usize),
    /// Whether the client has its answer.
    told: bool,
    /// Whether a cancel was ordered.
    cancelled: bool,
    ended: Option<Timestamp>,
}

/// Runs one simulation over the memory engine to its end.
pub fn run(config: Config) -> Outcome {
    run_on(config, |_| Arc::new(MemoryStore::new()))
}

/// Runs one simulation to its end, over the empty engine that `open` gives for a clock. The
/// engine has to answer within a minute of wall time, whatever virtual time does.
pub fn run_on(config: Config, open: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn Store>) -> Outcome {
    let world = World::new(config.seed, config.faults, config.traced);
    let engine = open(Arc::new(world.clock.clone()));
    let tenant = TenantId::new("demo");
    ready(engine.seed_demo()).expect("the engine does not fail");
    let guards = Arc::new(Guards::new(world.clone(), config.mutant, config.policy));
    let (seen, guard) = (engine.clone(), Arc::clone(&guards));
    let outside = Arc::new(SimStore::outside(engine.clone(), world.clone(), guard));
    let mut run = Run {
        guards,
        livekit: Arc::new(SimLiveKit::new(world.clone(), seen, tenant.clone())),
        wall: world.clock.skewed(),
        oracle: Oracle::new(engine.clone(), tenant.clone(), config.redial_after_contact),
        looked: 0,
        tasks: Tasks::default(),
        servers: vec![None; 1 + config.faults.more_servers as usize],
        lives: 0,
        agents: Vec::new(),
        fold: None,
        outcome: Outcome::default(),
        batch: None,
        most_in_flight: 0,
        marked: (0, 0),
        told: false,
        cancelled: false,
        ended: None,
        config,
        world,
        engine,
        outside,
        tenant,
    };
    for server in 0..run.servers.len() {
        if server > 0 {
            run.world.saw(Fault::MoreServers);
        }
        run.start(server);
    }
    run.world.after(Duration::from_millis(100), Event::Trigger);
    config.orders.schedule(&run.world);
    run.world.after(FAULTS_END, Event::FaultsEnd);
    run.world.after(WEATHER_EVERY, Event::Weather);
    for _ in 0..config.policy.suppressed {
        let after = run.world.between(Duration::from_secs(1), SUPPRESSED_WITHIN);
        run.world.after(after, Event::Suppress);
    }
    run.play();
    run.judge()
}

impl Run {
    fn play(&mut self) {
        let start = self.world.now();
        while let Some(event) = self.world.next() {
            self.outcome.events += 1;
            self.handle(event);
            self.settle();
            self.look();
            if self.config.traced {
                self.mark();
            }
            let now = self.world.now();
            match self.ended {
                Some(at) if now.since(at) > self.aftermath() => break,
                None if now.since(start) > FAULTS_END + LIVENESS => {
                    self.oracle.violations.push("the batch did not end".to_owned());
                    break;
                }
                _ => {}
            }
        }
    }

    /// Writes into the trace what has gone wrong since the last time.
    fn mark(&mut self) {
        let (seen, found) = self.marked;
        let of_guards = self.guards.violations_from(found);
        let of_oracle = self.oracle.violations.get(seen..).unwrap_or_default();
        for text in of_oracle.iter().chain(&of_guards) {
            self.world.note(|| format!("WRONG: {text}"));
        }
        self.marked = (self.oracle.violations.len(), found + of_guards.len());
    }

    fn aftermath(&self) -> Duration {
        // With nothing going wrong nothing can be left over.
        if self.config.is_calm() { AFTERMATH[0] / 4 } else { AFTERMATH[0] + AFTERMATH[1] }
    }

    /// Lets every task go on that can, until all of them wait.
    fn settle(&mut self) {
        loop {
            for (owner, task) in self.world.spawned() {
                self.tasks.start(owner, task);
            }
            let Some(owner) = self.tasks.poll_one() else { return };
            self.bury(owner);
        }
    }

    /// Looks at what was committed, as an outsider would, now and then.
    fn look(&mut self) {
        let commits = self.guards.commits();
        if std::mem::replace(&mut self.looked, commits) == commits {
            return;
        }
        let Some(batch) = self.accepted() else { return };
        let fold = self.fold.get_or_insert_with(|| {
            Fold::new(self.outside.clone(), self.tenant.clone(), batch.clone())
        });
        if self.world.below(8) == 0 {
            self.oracle.violations.extend(fold.look());
        }
        // What a user is told is the fold's matter.
        let Ok(Some(row)) = ready(self.engine.batch(&self.tenant, &batch)) else { return };
        let in_flight = row.count(|state| state.is_in_flight());
        if in_flight > self.config.max_concurrent.max(self.most_in_flight) {
            self.most_in_flight = in_flight;
            self.oracle.violations.push(format!("{in_flight} calls were in flight at once"));
        }
        if self.ended.is_none() && row.state.is_terminal() {
            self.ended = Some(self.world.now());
            self.outcome.simulated = self.world.now().since(SimClock::START);
            self.world.after(AFTERMATH[0], Event::FaultsEnd);
        }
    }

    fn accepted(&mut self) -> Option<BatchId> {
        if self.batch.is_none() {
            let found = ready(self.engine.accepted_under(&self.tenant, KEY)).ok()?;
            self.batch = found.map(|(batch, _)| batch);
        }
        self.batch.clone()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(waker) => waker.wake(),
            Event::Start { server } => self.start(server),
            Event::Trigger => self.trigger(),
            Event::Triggered { batch } => self.triggered(&batch),
            Event::Order { order } => self.order(order),
            Event::Job { metadata } => self.job(&metadata),
            Event::Step { agent, stage } => {
                let agent = &mut self.agents[agent];
                if agent.is_at(stage) {
                    agent.step(&self.world, &mut self.oracle);
                }
            }
            Event::Arrives { agent, stage, place, request } => {
                if self.agents[agent].arrives(place) {
                    self.world.saw(Fault::Reordered);
                }
                self.arrives(agent, stage, request);
            }
            Event::Reply { agent, stage, request, answer } => {
                let hangs = self.agents[agent].hangs_until(self.world.now());
                if let Some(until) = hangs {
                    return self.world.at(until, Event::Reply { agent, stage, request, answer });
                }
                let agent = &mut self.agents[agent];
                if agent.is_at(stage) {
                    agent.answered(request, answer, &self.world, &mut self.oracle);
                }
            }
            Event::RoomClosed { room } => {
                for agent in self.agents.iter_mut().filter(|agent| agent.hears_of(&room)) {
                    agent.leave(&self.world, &mut self.oracle);
                }
            }
            Event::Suppress => self.suppress(),
            Event::FaultsEnd => {
                self.world.end_faults();
                self.wall.jump(0);
                // A pause that was ordered again after its resume is found in the end.
                if self.config.orders.pause.is_some() {
                    self.world.after(TRIGGER_AGAIN, Event::Order { order: Order::Resume });
                }
            }
            Event::Weather => {
                if self.world.strikes(Fault::Brownout) {
                    self.world.brown_out();
                }
                if self.world.strikes(Fault::ClockJump) {
                    let hour: i64 = 3600;
                    let to = usize::try_from(self.world.below(3)).unwrap_or(0);
                    self.wall.jump([-hour, 0, hour][to]);
                }
                self.world.after(WEATHER_EVERY, Event::Weather);
            }
        }
    }

    /// One of the servers that take requests.
    fn server(&self) -> Option<Arc<Server>> {
        let serving: Vec<_> =
            self.servers.iter().flatten().filter(|server| server.is_serving()).collect();
        let last = serving.len().checked_sub(1)?;
        // No draw where there is no choice.
        let pick = if last == 0 { 0 } else { self.world.below(last as u64 + 1) };
        serving.get(usize::try_from(pick).unwrap_or(0)).map(|server| Arc::clone(server))
    }

    fn trigger(&mut self) {
        if self.told {
            return;
        }
        self.world.after(TRIGGER_AGAIN, Event::Trigger);
        let Some(server) = self.server() else { return };
        let (world, tenant) = (self.world.clone(), self.tenant.clone());
        let request = self.config.request();
        self.world.spawn(server.owner, async move {
            let key = Idempotency { key: KEY.to_owned(), request_hash: "its hash".to_owned() };
            let batch = match server.intake.trigger_test(&tenant, &request, Some(key)).await {
                Ok(triggered) => Ok(triggered.batch),
                // The client asks again.
                Err(IntakeError::Store(_)) => return,
                Err(error) => Err(error.to_string()),
            };
            if !world.strikes(Fault::AnswerLost) {
                world.after(world.delay(), Event::Triggered { batch });
            }
        });
    }

    fn order(&mut self, order: Order) {
        let (Some(batch), Some(server)) = (self.accepted(), self.server()) else {
            return self.world.after(Duration::from_secs(1), Event::Order { order });
        };
        let (world, tenant) = (self.world.clone(), self.tenant.clone());
        let is_cancel = matches!(order, Order::Cancel(_));
        let user = User { world, tenant, batch, again: self.cancelled && is_cancel };
        self.cancelled |= is_cancel;
        self.world.spawn(server.owner, async move {
            user.give(server.owner, &server.control, order).await;
        });
    }

    fn triggered(&mut self, answer: &Result<BatchId, String>) {
        self.told = true;
        let accepted = self.accepted();
        if answer.as_ref().ok() != accepted.as_ref() {
            let found = accepted.map(|batch| batch.to_string());
            self.oracle
                .violations
                .push(format!("the trigger was answered with {answer:?}, not {found:?}"));
        }
    }

    fn job(&mut self, metadata: &str) {
        let mut metadata: DispatchMetadata =
            serde_json::from_str(metadata).expect("the dispatcher wrote it");
        // Who answers a live batch's call is nothing that its agent is told.
        let plan = || self.plan_of(&metadata.call_id);
        metadata.test = metadata.test.take().or_else(plan);
        let plan = metadata.test.as_ref().and_then(|plan| plan.outcome);
        if plan.is_some_and(|plan| plan as usize >= PLAIN) {
            self.world.saw(Fault::AgentScript);
        }
        if plan.is_some_and(|plan| !plan.is_accepted()) {
            // LiveKit asks nobody else, and tells nobody.
            return self.world.note(|| format!("{} is refused", metadata.call_id));
        }
        let agent = Agent::start(self.agents.len(), metadata, &self.world, self.config.mutant);
        self.agents.push(agent);
    }

    fn plan_of(&self, call: &CallId) -> Option<TestPlan> {
        let (key, attempt) = call.parts().ok()?;
        let (entry, _) = ready(self.engine.call(&self.tenant, &key, attempt)).ok()??;
        let row = ready(self.engine.batch(&self.tenant, &key.batch)).ok()??;
        Some(TestPlan {
            to: entry.to.expose().to_owned(),
            outcome: entry.planned,
            durations: row.spec.durations,
            seed: row.spec.seed,
        })
    }

    /// A number of the batch is suppressed.
    fn suppress(&mut self) {
        let batch = self.accepted();
        let entries = batch
            .and_then(|batch| ready(self.engine.entries(&self.tenant, &batch, 0, u32::MAX)).ok());
        let Some(entries) = entries.filter(|entries| !entries.is_empty()) else {
            return self.world.after(TRIGGER_AGAIN, Event::Suppress);
        };
        let place = usize::try_from(self.world.below(entries.len() as u64)).unwrap_or(0);
        self.guards.suppress(&*self.engine, &entries[place].0).expect("the engine does not fail");
    }

    fn arrives(&mut self, agent: usize, stage: u32, request: Request) {
        let Some(server) = self.server() else { return };
        let asking = &self.agents[agent];
        let (metadata, claimer) = (asking.metadata.clone(), asking.claimer());
        let world = self.world.clone();
        self.world.spawn(server.owner, async move {
            let answer = server.handle(&metadata, claimer, request).await;
            if !world.strikes(Fault::AnswerLost) {
                world.after(world.delay(), Event::Reply { agent, stage, request, answer });
            }
        });
    }

    /// Takes a server away that has died, with all it was doing, and lets it come back.
    fn bury(&mut self, owner: Owner) {
        let Some(server) = self.servers.get_mut(owner.server) else { return };
        let is_it = |server: &mut Arc<Server>| server.owner == owner && server.store.is_dead();
        if server.take_if(is_it).is_some() {
            self.world.note(|| format!("server {} is gone", owner.server));
            self.tasks.kill(owner);
            let down = self.world.between(Duration::from_secs(1), Duration::from_secs(20));
            self.world.after(down, Event::Start { server: owner.server });
        }
    }

    fn start(&mut self, id: usize) {
        self.lives += 1;
        let clock: Arc<dyn Clock> = match self.config.mutant {
            Some(Mutant::WallClockDeadlines) => Arc::new(self.wall.clone()),
            _ => Arc::new(self.world.clock.clone()),
        };
        let store =
            SimStore::new(self.engine.clone(), self.world.clone(), Arc::clone(&self.guards));
        let owner = Owner { server: id, life: self.lives };
        let server = Server::new(owner, store, &self.world, &self.tenant, self.config.mutant);
        server.start(&self.livekit, clock, self.servers.len() == 1);
        self.servers[id] = Some(server);
        self.settle();
    }

    /// Compares events, status and rows for the last time.
    pub fn last_look(&mut self, entries: &[dialtone_store::EntryRow]) {
        if let Some(fold) = &mut self.fold {
            let found = fold.look().or_else(|| fold.compare_entries(entries));
            self.oracle.violations.extend(found);
        }
    }
}
