use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::ReportedStatus;
use dialtone_contract::{DispatchMetadata, ErrorCode, Outcome, PlannedOutcome};

use crate::Mutant;
use crate::oracle::Oracle;
use crate::world::{Event, World};

/// Time after which an agent asks again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which an agent stops asking.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between heartbeats.
const BEAT: Duration = Duration::from_secs(10);

/// What an agent asks of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The dial claim.
    Claim,
    /// A sign of life.
    Heartbeat,
    /// Where the call stands.
    Status(ReportedStatus),
    /// What came of it.
    Completed(Outcome),
}

/// What the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, or it was so already.
    Granted,
    /// A refusal.
    Refused(ErrorCode),
    /// The platform failed; ask again.
    TryAgain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the answer to this request, asked for the first time at that moment.
    Asking(Request, Timestamp),
    /// The callee hears the agent until then.
    Talking(Timestamp),
    /// In the room, doing nothing, until then.
    Idle(Timestamp),
    /// Gone.
    Gone,
}

/// A simulated agent with one job.
pub struct Agent {
    id: usize,
    pub metadata: DispatchMetadata,
    outcome: PlannedOutcome,
    lasts: Duration,
    phase: Phase,
    stage: u32,
    dialling: bool,
}

impl Agent {
    /// An agent that has just been given its job.
    pub fn start(id: usize, metadata: DispatchMetadata, world: &World) -> Self {
        let outcome = metadata.test.as_ref().and_then(|plan| plan.outcome);
        let outcome = outcome.expect("simulated batches have exact plans");
        let s = Duration::from_secs;
        let lasts = match outcome {
            PlannedOutcome::Completed => world.between(s(2), s(20)),
            PlannedOutcome::Failed => world.between(s(1), s(5)),
            PlannedOutcome::Stuck => s(1),
            PlannedOutcome::Dropped => s(0),
        };
        let phase = Phase::Idle(world.now() + lasts);
        let mut agent = Self { id, metadata, outcome, lasts, phase, stage: 0, dialling: false };
        if outcome.claims() {
            agent.ask(Request::Claim, world);
        } else {
            agent.wait(world.now() + lasts, world);
        }
        agent
    }

    /// Who this agent says it is.
    pub fn claimer(&self) -> String {
        format!("AJ_{}", self.id)
    }

    pub fn is_at(&self, stage: u32) -> bool {
        self.stage == stage && self.phase != Phase::Gone
    }

    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    fn wait(&mut self, until: Timestamp, world: &World) {
        world.at(until, Event::Step { agent: self.id, stage: self.stage });
    }

    fn ask(&mut self, request: Request, world: &World) {
        self.stage += 1;
        self.phase = Phase::Asking(request, world.now());
        self.send(request, world);
        self.wait(world.now() + REQUEST_TIMEOUT, world);
    }

    fn send(&self, request: Request, world: &World) {
        if world.strikes(|faults| faults.request_lost) {
            return;
        }
        let twice = world.strikes(|faults| faults.request_doubled);
        for _ in 0..=usize::from(twice) {
            let event = Event::Arrives { agent: self.id, stage: self.stage, request };
            world.after(world.delay(), event);
        }
    }

    /// The agent's own next step falls due.
    pub fn step(&mut self, world: &World, oracle: &mut Oracle) {
        if world.strikes(|faults| faults.agent_dies) {
            return self.leave(world, oracle);
        }
        match self.phase {
            Phase::Asking(_, since) if world.now().since(since) >= PATIENCE => {
                self.leave(world, oracle);
            }
            Phase::Asking(request, _) => {
                self.send(request, world);
                self.wait(world.now() + REQUEST_TIMEOUT, world);
            }
            Phase::Talking(until) if world.now() >= until => {
                self.hang_up(world, oracle);
                let completed = self.outcome == PlannedOutcome::Completed;
                let end = if completed { ReportedStatus::Ended } else { ReportedStatus::Failed };
                self.ask(Request::Status(end), world);
            }
            Phase::Talking(until) => {
                self.send(Request::Heartbeat, world);
                self.wait(until.min(world.now() + BEAT), world);
            }
            Phase::Idle(_) => self.leave(world, oracle),
            Phase::Gone => {}
        }
    }

    /// An answer reaches the agent.
    pub fn answered(
        &mut self,
        answer: Answer,
        world: &World,
        mutant: Option<Mutant>,
        oracle: &mut Oracle,
    ) {
        let rings_anyway = mutant == Some(Mutant::NoDialClaim);
        match (self.phase, answer) {
            (Phase::Asking(Request::Claim, _), Answer::Refused(_)) if rings_anyway => {
                self.go_on(Request::Claim, world, oracle);
            }
            // Hang up: the platform has ended the attempt, or never wanted it.
            (_, Answer::Refused(_)) => self.leave(world, oracle),
            // The timer of the request asks again.
            (_, Answer::TryAgain) | (Phase::Talking(_) | Phase::Idle(_) | Phase::Gone, _) => {}
            (Phase::Asking(request, _), Answer::Granted) => self.go_on(request, world, oracle),
        }
    }

    fn go_on(&mut self, request: Request, world: &World, oracle: &mut Oracle) {
        match request {
            Request::Claim => {
                self.dial(world, oracle);
                if self.outcome == PlannedOutcome::Completed {
                    return self.ask(Request::Status(ReportedStatus::InCall), world);
                }
                self.talk(world);
            }
            Request::Status(ReportedStatus::InCall) => self.talk(world),
            Request::Status(_) => {
                self.ask(Request::Completed(self.outcome.expected()), world);
            }
            Request::Completed(outcome) => {
                oracle.acknowledged(&self.metadata.call_id, outcome);
                self.leave(world, oracle);
            }
            Request::Heartbeat => {}
        }
    }

    fn dial(&mut self, world: &World, oracle: &mut Oracle) {
        self.dialling = true;
        oracle.dial(&self.metadata, &self.claimer(), world.now());
    }

    fn talk(&mut self, world: &World) {
        self.stage += 1;
        let until = world.now() + self.lasts;
        self.phase = Phase::Talking(until);
        self.wait(until.min(world.now() + BEAT), world);
    }

    fn hang_up(&mut self, world: &World, oracle: &mut Oracle) {
        if std::mem::take(&mut self.dialling) {
            oracle.hang_up(&self.metadata, world.now());
        }
    }

    /// Leaves the room, for whatever reason.
    pub fn leave(&mut self, world: &World, oracle: &mut Oracle) {
        self.hang_up(world, oracle);
        self.stage += 1;
        self.phase = Phase::Gone;
    }
}
