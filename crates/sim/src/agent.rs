use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{HeartbeatState, ReportedStatus, SpanS};
use dialtone_contract::{DispatchMetadata, ErrorCode, Outcome, PlannedOutcome, limits};

use crate::Mutant;
use crate::faults::Fault;
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
    /// A sign of life, sent at that moment.
    Heartbeat(HeartbeatState, Timestamp),
    /// Where the call stands.
    Status(ReportedStatus),
    /// What came of it.
    Completed(Outcome),
}

/// What the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes; `applied` if it was not so already.
    Granted { applied: bool },
    /// A refusal.
    Refused(ErrorCode),
    /// The platform failed; ask again.
    TryAgain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the answer to this request, asked for the first time at that moment.
    Asking(Request, Timestamp),
    /// The callee hears the agent until then; the next heartbeat is due at the other.
    Talking { until: Timestamp, beat: Timestamp },
    /// In the room, doing nothing.
    Idle,
    /// Out of the room, until it is time to say what came of the call.
    Silent,
    /// Gone.
    Gone,
}

/// A simulated agent with one job. It keeps to what the platform asks of workers: ring
/// only after a fresh grant of the dial claim, report until answered, and hang up when
/// the platform says so or has confirmed no sign of life for one heartbeat lease.
pub struct Agent {
    id: usize,
    pub metadata: DispatchMetadata,
    outcome: PlannedOutcome,
    lasts: Duration,
    phase: Phase,
    stage: u32,
    dialling: bool,
    /// The platform waits for another sign of life until a lease from then at least.
    confirmed: Timestamp,
    /// Nothing that it sends gets anywhere any more.
    cut_off: bool,
    /// Whether it still learns what happens to the room.
    in_room: bool,
    /// Callbacks that were answered.
    answers: u32,
    /// Requests that were sent, and the place of the last one that has arrived.
    sent: u32,
    arrived: u32,
    /// It does nothing until then.
    hangs_until: Timestamp,
    has_deadline: bool,
}

impl Agent {
    /// An agent that has just been given its job.
    pub fn start(
        id: usize,
        metadata: DispatchMetadata,
        world: &World,
        mutant: Option<Mutant>,
    ) -> Self {
        let plan = metadata.test.as_ref().expect("simulated batches are test batches");
        let outcome = plan.outcome.expect("simulated batches have exact plans");
        let lasts = match outcome {
            PlannedOutcome::Completed
            | PlannedOutcome::LateCallback
            | PlannedOutcome::DuplicateCallback
            | PlannedOutcome::LostCallback => within(plan.durations.completed, world),
            PlannedOutcome::CrashInCall => within(plan.durations.completed, world) / 2,
            PlannedOutcome::Failed => within(plan.durations.failed, world),
            PlannedOutcome::RingsForever => limits::IN_CALL,
            PlannedOutcome::Stuck => Duration::from_secs(1),
            PlannedOutcome::Dropped | PlannedOutcome::NeverAccepts => Duration::ZERO,
        };
        let mut agent = Self {
            id,
            metadata,
            outcome,
            lasts,
            phase: Phase::Idle,
            stage: 0,
            dialling: false,
            confirmed: world.now(),
            cut_off: false,
            in_room: true,
            answers: 0,
            sent: 0,
            arrived: 0,
            hangs_until: world.now(),
            has_deadline: mutant != Some(Mutant::NoWorkerDeadline),
        };
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

    /// Whether the agent learns that this room was closed, and has to leave.
    pub fn hears_of(&self, room: &str) -> bool {
        let listens = self.phase != Phase::Gone && self.in_room && !self.cut_off;
        listens && self.metadata.call_id.as_str() == room
    }

    /// Until when what reaches the agent waits, if it hangs.
    pub fn hangs_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.hangs_until).filter(|until| *until > now && self.phase != Phase::Gone)
    }

    /// A request has reached the API; whether a later one was there before it.
    pub fn arrives(&mut self, place: u32) -> bool {
        let overtaken = place < self.arrived;
        self.arrived = self.arrived.max(place);
        overtaken
    }

    /// Whether the agent does nothing now; its step comes later. What rings up people is
    /// watched from outside and ended at its deadline whatever the agent does.
    fn hangs(&mut self, world: &World) -> bool {
        let s = Duration::from_secs;
        let lasts = if world.strikes(Fault::AgentHangs) {
            world.between(s(5), s(90))
        } else if world.strikes(Fault::AgentSlow) {
            world.between(Duration::from_millis(200), s(4))
        } else {
            return false;
        };
        let (now, until) = (world.now(), world.now() + lasts);
        self.hangs_until = if self.dialling { until.min(self.deadline()) } else { until };
        if self.hangs_until <= now {
            return false;
        }
        self.wait(self.hangs_until, world);
        true
    }

    fn wait(&mut self, until: Timestamp, world: &World) {
        world.at(until, Event::Step { agent: self.id, stage: self.stage });
    }

    fn ask(&mut self, request: Request, world: &World) {
        self.stage += 1;
        self.phase = Phase::Asking(request, world.now());
        self.try_once(request, world);
    }

    fn try_once(&mut self, request: Request, world: &World) {
        self.send(request, world);
        let again = world.now() + REQUEST_TIMEOUT;
        let at = if self.dialling { again.min(self.deadline()) } else { again };
        self.wait(at, world);
    }

    fn send(&mut self, request: Request, world: &World) {
        self.sent += 1;
        let beat = matches!(request, Request::Heartbeat(..));
        let lost = world.strikes(Fault::RequestLost) || (beat && world.strikes(Fault::BeatLost));
        if self.cut_off || lost {
            return;
        }
        let twice = world.strikes(Fault::RequestDoubled);
        for _ in 0..=usize::from(twice) {
            let (agent, stage, place) = (self.id, self.stage, self.sent);
            let event = Event::Arrives { agent, stage, place, request };
            world.after(world.delay(), event);
        }
    }

    /// The last moment at which the agent may still be heard.
    fn deadline(&self) -> Timestamp {
        if self.has_deadline {
            self.confirmed + limits::HEARTBEAT_LEASE
        } else {
            Timestamp::from_micros(i64::MAX)
        }
    }

    /// The agent's own next step falls due.
    pub fn step(&mut self, world: &World, oracle: &mut Oracle) {
        if world.strikes(Fault::AgentDies) {
            return self.leave(world, oracle);
        }
        self.cut_off |= world.strikes(Fault::AgentCutOff);
        if self.hangs(world) {
            return;
        }
        let now = world.now();
        match self.phase {
            Phase::Asking(_, since) if now.since(since) >= PATIENCE => self.leave(world, oracle),
            Phase::Asking(..) if self.dialling && now >= self.deadline() => {
                self.leave(world, oracle);
            }
            Phase::Asking(request, _) => self.try_once(request, world),
            Phase::Talking { .. } if now >= self.deadline() => self.leave(world, oracle),
            Phase::Talking { until, .. } if now >= until => self.end_call(world, oracle),
            Phase::Talking { until, beat } => {
                let mut next = beat;
                if now >= beat {
                    self.send(Request::Heartbeat(self.shows(), now), world);
                    next = now + BEAT;
                    self.phase = Phase::Talking { until, beat: next };
                }
                self.wait(until.min(next).min(self.deadline()), world);
            }
            Phase::Idle => self.leave(world, oracle),
            Phase::Silent => self.ask(Request::Completed(self.outcome.expected()), world),
            Phase::Gone => {}
        }
    }

    fn end_call(&mut self, world: &World, oracle: &mut Oracle) {
        if matches!(self.outcome, PlannedOutcome::CrashInCall | PlannedOutcome::RingsForever) {
            return self.leave(world, oracle);
        }
        self.hang_up(world, oracle);
        // What is left to say is said, whatever becomes of the room meanwhile.
        self.in_room = false;
        let answered = self.outcome.is_answered();
        let end = if answered { ReportedStatus::Ended } else { ReportedStatus::Failed };
        self.ask(Request::Status(end), world);
    }

    /// Says what came of the call, as its script wants.
    fn report(&mut self, world: &World) {
        let request = Request::Completed(self.outcome.expected());
        match self.outcome {
            PlannedOutcome::LateCallback => {
                let late = world.between(Duration::from_secs(5), limits::CALLBACK_GRACE);
                self.say_later(limits::CALLBACK_GRACE + late, world);
            }
            PlannedOutcome::LostCallback => {
                self.send(request, world);
                // The answer finds an agent that no longer waits for it.
                self.say_later(Duration::from_secs(1), world);
            }
            _ => self.ask(request, world),
        }
    }

    fn say_later(&mut self, pause: Duration, world: &World) {
        self.stage += 1;
        self.phase = Phase::Silent;
        self.wait(world.now() + pause, world);
    }

    fn shows(&self) -> HeartbeatState {
        if self.outcome.is_answered() { HeartbeatState::InCall } else { HeartbeatState::Ringing }
    }

    /// An answer reaches the agent.
    pub fn answered(
        &mut self,
        request: Request,
        answer: Answer,
        world: &World,
        oracle: &mut Oracle,
    ) {
        if self.cut_off {
            return;
        }
        match (self.phase, answer) {
            // Hang up: the platform has ended the attempt, or never wanted it.
            (_, Answer::Refused(_)) => self.leave(world, oracle),
            (Phase::Talking { .. }, Answer::Granted { .. }) => {
                if let Request::Heartbeat(_, sent) = request {
                    self.confirmed = self.confirmed.max(sent);
                }
            }
            // An answer older than the heartbeat lease grants nothing any more.
            (Phase::Asking(Request::Claim, since), Answer::Granted { .. })
                if world.now().since(since) >= limits::HEARTBEAT_LEASE =>
            {
                self.leave(world, oracle);
            }
            (Phase::Asking(Request::Completed(outcome), _), Answer::Granted { applied }) => {
                oracle.acknowledged(&self.metadata.call_id, outcome, applied);
                self.answers += 1;
                if self.answers == 1 && self.outcome == PlannedOutcome::DuplicateCallback {
                    self.ask(Request::Completed(outcome), world);
                } else {
                    self.leave(world, oracle);
                }
            }
            (Phase::Asking(asked, since), Answer::Granted { .. }) => {
                self.go_on(asked, since, world, oracle);
            }
            // The timer of the request asks again.
            (_, Answer::TryAgain) | (Phase::Idle | Phase::Silent | Phase::Gone, _) => {}
        }
    }

    fn go_on(&mut self, asked: Request, since: Timestamp, world: &World, oracle: &mut Oracle) {
        match asked {
            Request::Claim => {
                self.confirmed = since;
                self.dialling = true;
                oracle.dial(&self.metadata, &self.claimer(), world);
                if self.outcome.is_answered() {
                    return self.ask(Request::Status(ReportedStatus::InCall), world);
                }
                self.talk(world);
            }
            Request::Status(ReportedStatus::InCall) => {
                self.confirmed = self.confirmed.max(since);
                self.talk(world);
            }
            Request::Status(status) => {
                oracle.closed(&self.metadata.call_id, status);
                self.report(world);
            }
            Request::Completed(_) | Request::Heartbeat(..) => {}
        }
    }

    fn talk(&mut self, world: &World) {
        self.stage += 1;
        let (until, beat) = (world.now() + self.lasts, world.now() + BEAT);
        self.phase = Phase::Talking { until, beat };
        self.wait(until.min(beat).min(self.deadline()), world);
    }

    fn hang_up(&mut self, world: &World, oracle: &mut Oracle) {
        if std::mem::take(&mut self.dialling) {
            oracle.hang_up(&self.metadata, world);
        }
    }

    /// Leaves the room, for whatever reason.
    pub fn leave(&mut self, world: &World, oracle: &mut Oracle) {
        self.hang_up(world, oracle);
        self.stage += 1;
        self.phase = Phase::Gone;
    }
}

fn within(span: SpanS, world: &World) -> Duration {
    let from = Duration::from_secs_f64(span.min_s);
    world.between(from, from.max(Duration::from_secs_f64(span.max_s)))
}
