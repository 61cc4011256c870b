use std::sync::Arc;
use std::time::Duration;

use dialtone_batch::{Intake, verify};
use dialtone_clock::{Clock, Timestamp, seed_from};
use dialtone_contract::wire::{Durations, OutcomeMode, TestBatchRequest, TestOptions};
use dialtone_contract::{
    BatchId, DispatchMetadata, EntryState, OutcomeWeights, PlannedOutcome, TenantId,
};
use dialtone_store::memory::MemoryStore;
use dialtone_store::{BatchStore as _, CallRow, Directory as _, EntryRow};

use crate::agent::{Agent, Request};
use crate::clock::SimClock;
use crate::livekit::SimLiveKit;
use crate::oracle::Oracle;
use crate::server::Server;
use crate::store::{Shared, SimStore};
use crate::world::{Event, World};
use crate::{Faults, Mutant, ready};

/// Virtual time after which faults end.
const FAULTS_END: Duration = Duration::from_secs(20 * 60);
/// Virtual time in which a batch has to end once nothing goes wrong any more.
const LIVENESS: Duration = Duration::from_secs(4 * 3600);
/// Virtual time that the world runs on after the end, to see that nothing moves.
const AFTERMATH: Duration = Duration::from_secs(120);
/// Virtual time between jumps of the wall clocks.
const JUMP_EVERY: Duration = Duration::from_secs(90);

/// One simulation.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// The batch's plan.
    pub weights: OutcomeWeights,
    /// What goes wrong.
    pub faults: Faults,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
}

/// What came of a simulation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Hash of the batch's event stream; the same seed gives the same.
    pub trace_hash: u64,
    /// Simulation events.
    pub events: u64,
    /// Faults that struck.
    pub injected: u64,
    /// Virtual time from trigger to end.
    pub simulated: Duration,
    /// Attempts begun.
    pub attempts: u32,
    /// Dial claims won.
    pub dials: u32,
    /// Entries that ended as planned, in the order completed, failed, stuck, dropped.
    pub as_planned: [u32; 4],
}

struct Run {
    config: Config,
    world: World,
    memory: Arc<MemoryStore>,
    shared: Arc<Shared>,
    livekit: Arc<SimLiveKit>,
    wall: SimClock,
    tenant: TenantId,
    batch: BatchId,
    servers: Vec<Option<Server>>,
    /// When each server looks next; other ticks of it are outdated.
    ticks: Vec<Option<Timestamp>>,
    agents: Vec<Agent>,
    oracle: Oracle,
    outcome: Outcome,
}

/// Runs one simulation to its end.
pub fn run(config: Config) -> Outcome {
    let world = World::new(config.seed, config.faults);
    let memory = Arc::new(MemoryStore::new());
    let tenant = TenantId::new("demo");
    let batch = trigger(&config, &memory, &world, &tenant);
    let mut run = Run {
        shared: Arc::default(),
        livekit: Arc::new(SimLiveKit::new(world.clone())),
        wall: world.clock.skewed(),
        oracle: Oracle::new(memory.clone(), tenant.clone()),
        servers: Vec::new(),
        ticks: Vec::new(),
        agents: Vec::new(),
        outcome: Outcome::default(),
        config,
        world,
        memory,
        tenant,
        batch,
    };
    for id in 0..=config.faults.more_dispatchers as usize {
        run.servers.push(None);
        run.ticks.push(None);
        run.restart(id);
    }
    run.world.after(FAULTS_END, Event::FaultsEnd);
    run.world.after(JUMP_EVERY, Event::ClockJump);
    run.play();
    run.judge()
}

fn trigger(
    config: &Config,
    memory: &Arc<MemoryStore>,
    world: &World,
    tenant: &TenantId,
) -> BatchId {
    ready(memory.seed_demo()).expect("the memory engine does not fail");
    let intake = Intake::new(memory.clone(), Arc::new(world.clock.clone()));
    let weights = config.weights;
    let request = TestBatchRequest {
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total: u32::try_from(weights.total()).expect("a simulated batch is small"),
        fail_count: weights.failed,
        stuck_count: weights.stuck,
        dropped_count: weights.dropped,
        seed: Some(config.seed),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: TestOptions::default(),
    };
    ready(intake.trigger_test(tenant, &request, None)).expect("the request is valid").batch
}

impl Run {
    fn play(&mut self) {
        let start = self.world.now();
        let mut ended: Option<Timestamp> = None;
        while let Some(event) = self.world.next() {
            self.outcome.events += 1;
            self.handle(event);
            let now = self.world.now();
            if ended.is_none() && self.is_over() {
                ended = Some(now);
                self.outcome.simulated = now.since(start);
            }
            match ended {
                Some(at) if now.since(at) > AFTERMATH => break,
                None if now.since(start) > FAULTS_END + LIVENESS => {
                    self.oracle.violations.push("the batch did not end".to_owned());
                    break;
                }
                _ => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        let row = ready(self.memory.batch(&self.tenant, &self.batch));
        row.ok().flatten().is_some_and(|row| row.state.is_terminal())
    }

    fn handle(&mut self, event: Event) {
        let moves_rows = matches!(event, Event::Arrives { .. } | Event::Answered { .. });
        match event {
            Event::Tick { server } => self.tick(server),
            Event::Restart { server } => self.restart(server),
            Event::Answered { server, send } => {
                if let Some(alive) = &mut self.servers[server] {
                    alive.livekit_answered(send);
                }
            }
            Event::Job { metadata } => self.job(&metadata),
            Event::Step { agent, stage } => {
                let agent = &mut self.agents[agent];
                if agent.is_at(stage) {
                    agent.step(&self.world, &mut self.oracle);
                }
            }
            Event::Arrives { agent, stage, request } => self.arrives(agent, stage, request),
            Event::Reply { agent, stage, answer } => {
                let agent = &mut self.agents[agent];
                if agent.is_at(stage) {
                    agent.answered(answer, &self.world, self.config.mutant, &mut self.oracle);
                }
            }
            Event::RoomClosed { room } => {
                let inside = self.agents.iter_mut().filter(|agent| !agent.is_gone());
                for agent in inside.filter(|agent| agent.metadata.call_id.as_str() == room) {
                    agent.leave(&self.world, &mut self.oracle);
                }
            }
            Event::FaultsEnd => {
                self.world.end_faults();
                self.wall.jump(0);
            }
            Event::ClockJump => self.jump(),
        }
        self.bury();
        if moves_rows {
            // The store's hint: every server looks soon.
            for server in 0..self.servers.len() {
                let soon = self.world.between(Duration::ZERO, Duration::from_millis(5));
                self.look(server, soon);
            }
        }
    }

    /// Lets a server look for work after `delay`, if it does not look sooner anyway.
    fn look(&mut self, server: usize, delay: Duration) {
        let at = self.world.now() + delay;
        if self.ticks[server].is_none_or(|next| at < next) {
            self.ticks[server] = Some(at);
            self.world.at(at, Event::Tick { server });
        }
    }

    fn tick(&mut self, server: usize) {
        if self.ticks[server] != Some(self.world.now()) {
            return;
        }
        self.ticks[server] = None;
        let next = self.servers[server].as_mut().map(|alive| alive.tick(&self.world));
        if let Some(next) = next.filter(|_| self.outcome.simulated.is_zero()) {
            self.look(server, next);
        }
    }

    fn job(&mut self, metadata: &str) {
        let metadata: DispatchMetadata =
            serde_json::from_str(metadata).expect("the dispatcher wrote it");
        let agent = Agent::start(self.agents.len(), metadata, &self.world);
        self.agents.push(agent);
    }

    fn arrives(&mut self, agent: usize, stage: u32, request: Request) {
        let alive: Vec<usize> =
            (0..self.servers.len()).filter(|id| self.servers[*id].is_some()).collect();
        let Some(index) = alive.len().checked_sub(1) else { return };
        let pick = usize::try_from(self.world.below(index as u64 + 1)).unwrap_or(0);
        let Some(server) = &self.servers[alive[pick]] else { return };
        let answer = server.handle(&self.tenant, &self.agents[agent], request);
        let lost = server.store.has_crashed() || self.world.strikes(|faults| faults.answer_lost);
        if !lost {
            self.world.after(self.world.delay(), Event::Reply { agent, stage, answer });
        }
    }

    /// Takes servers away that died in the last event, and lets them come back.
    fn bury(&mut self) {
        for id in 0..self.servers.len() {
            if self.servers[id].as_ref().is_some_and(|server| server.store.has_crashed()) {
                self.servers[id] = None;
                let down = self.world.between(Duration::from_secs(1), Duration::from_secs(20));
                self.world.after(down, Event::Restart { server: id });
            }
        }
    }

    fn restart(&mut self, id: usize) {
        let clock: Arc<dyn Clock> = match self.config.mutant {
            Some(Mutant::WallClockDeadlines) => Arc::new(self.wall.clone()),
            _ => Arc::new(self.world.clock.clone()),
        };
        let store = self.view();
        self.servers[id] = Server::start(id, store, &self.livekit, &self.world, clock);
        if self.servers[id].is_none() {
            self.world.after(Duration::from_secs(1), Event::Restart { server: id });
        }
        self.ticks[id] = None;
        self.look(id, Duration::ZERO);
    }

    fn view(&self) -> SimStore {
        let (memory, shared) = (self.memory.clone(), self.shared.clone());
        SimStore::new(memory, self.world.clone(), self.config.mutant, shared)
    }

    fn jump(&mut self) {
        if self.world.now().since(Timestamp::default()) > Duration::ZERO && !self.is_over() {
            let hour: i64 = 3600;
            let to = [-hour, 0, hour][usize::try_from(self.world.below(3)).unwrap_or(0)];
            self.wall.jump(to);
            self.world.after(JUMP_EVERY, Event::ClockJump);
        }
    }

    fn judge(mut self) -> Outcome {
        self.outcome.injected = self.world.injected();
        self.world.end_faults();
        self.oracle.compare();
        self.outcome.violations = std::mem::take(&mut self.oracle.violations);
        self.outcome.violations.extend(self.shared.early());
        let view = self.view();
        let found = ready(verify(&view, &self.tenant, &self.batch)).ok().flatten();
        for broken in found.iter().flat_map(|found| found.broken()) {
            self.outcome.violations.push(format!("{}: {}", broken.name, broken.detail));
        }
        let entries = ready(self.memory.entries(&self.tenant, &self.batch, 0, u32::MAX));
        let entries = entries.unwrap_or_default();
        self.count(&entries);
        if self.config.faults == Faults::default() {
            self.exact(&entries);
        }
        self.hash();
        self.outcome
    }

    fn count(&mut self, entries: &[(EntryRow, Vec<CallRow>)]) {
        if let Ok(Some(row)) = ready(self.memory.batch(&self.tenant, &self.batch)) {
            (self.outcome.attempts, self.outcome.dials) = (row.attempts, row.dials);
        }
        for (entry, _) in entries {
            let planned = entry.planned.unwrap_or(PlannedOutcome::Completed);
            if entry.outcome == Some(planned.expected()) {
                self.outcome.as_planned[planned as usize] += 1;
            }
        }
    }

    /// With nothing going wrong every entry ends exactly as planned, at its attempts.
    fn exact(&mut self, entries: &[(EntryRow, Vec<CallRow>)]) {
        for (entry, calls) in entries {
            let planned = entry.planned.unwrap_or(PlannedOutcome::Completed);
            let attempts = if planned.claims() { 1 } else { 3 };
            let ended = planned.expected().final_state();
            let fits = entry.state == ended
                && entry.state != EntryState::Cancelled
                && entry.outcome == Some(planned.expected())
                && calls.len() == attempts;
            if !fits {
                let (seq, state) = (entry.key.seq, entry.state);
                let n = calls.len();
                self.outcome
                    .violations
                    .push(format!("entry {seq}, planned {planned}, is {state} after {n}"));
            }
        }
    }

    fn hash(&mut self) {
        let events = ready(self.memory.events(&self.tenant, &self.batch, 0, u32::MAX));
        let mut hash = self.config.seed;
        for event in events.unwrap_or_default() {
            let outcome = event.outcome.map_or("", |outcome| outcome.as_str());
            let seq = event.seq.unwrap_or(0).to_le_bytes();
            let at = event.at.as_micros().to_le_bytes();
            hash = seed_from(hash, &[event.kind.as_bytes(), &seq, outcome.as_bytes(), &at]);
        }
        self.outcome.trace_hash = hash;
    }
}
