//! `dev`: the stack on its well-known ports, until the user ends it.

use std::time::{Duration, Instant};

use dialtone_clock::Timeline;
use dialtone_contract::{ErrorCode, limits};

use super::stack_of::{self, Wanted};
use super::verdict::teardown;
use super::{Binaries, Guard, Limits, LiveKit};
use crate::envelope::Envelope;
use crate::event::Event;
use crate::failure::Failure;
use crate::run::{Identity, Run};
use crate::stack::{Setting, Stack};

/// The command.
pub const COMMAND: &str = "dev";

/// Its checks, in order.
pub const CHECKS: &[&str] = &["ready", "teardown"];

/// What shall be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port of `livekit-dev`.
    pub livekit_port: u16,
    /// Port of the API.
    pub api_port: u16,
    /// How long the stack may take to be ready.
    pub ready_within: Duration,
    /// The binaries.
    pub binaries: Binaries,
}

/// The first event of such a run.
pub fn opening(identity: &Identity) -> Event {
    Event::RunStarted {
        command: identity.command.to_owned(),
        run_id: identity.run_id.clone(),
        seed: identity.seed,
        real: ["processes", "HTTP", "SQLite", "time"].map(str::to_owned).to_vec(),
        simulated: ["LiveKit (livekit-dev)", "callees"].map(str::to_owned).to_vec(),
        plan: "livekit-dev, dialtone and test-worker, until Ctrl-C".to_owned(),
    }
}

/// Runs it. A signal is the way it is meant to end, so it ends well for one.
pub async fn run(run: Run, options: &Options, limits: Limits) -> Envelope {
    let guard = Guard::new(limits);
    let began = Instant::now();
    let stack = match guard.watch(start(&run, options)).await {
        Ok(stack) => stack,
        Err(failure) => {
            run.broke_off("ready", began.elapsed(), &failure);
            run.error(failure);
            teardown(&run, Instant::now(), &Stack::sweep(run.dir()).await);
            return run.finish();
        }
    };
    guard.step.set("waiting for the stack to be ready");
    match guard.watch(stack.ready()).await {
        Ok(()) => {
            run.pass("ready", began.elapsed(), format!("{} services", stack.members().len()));
            run.bus().emit(Event::Note { text: "press Ctrl-C to stop".to_owned() });
            guard.step.set("serving");
            let dead = guard.watch(async { Err::<(), _>(stack.death().await) }).await;
            match dead {
                // The user has had enough.
                Err(_) if guard.limits.interrupt.asked().is_some() => {}
                Err(failure) => run.error(failure),
                Ok(()) => {}
            }
        }
        Err(failure) => {
            run.broke_off("ready", began.elapsed(), &failure);
            run.error(failure);
        }
    }
    let down = Instant::now();
    let left = stack.stop().await;
    teardown(&run, down, &left);
    run.finish()
}

async fn start(run: &Run, options: &Options) -> Result<Stack, Failure> {
    let wanted = Wanted {
        binaries: &options.binaries,
        livekit: &LiveKit::Simulated,
        livekit_mode: "queue",
        livekit_port: options.livekit_port,
        api_port: options.api_port,
        max_concurrent: limits::MAX_CONCURRENT_DEFAULT,
        seed: run.identity().seed,
    };
    let planned = stack_of::plan(&wanted, run.dir()).map_err(|failure| match failure.code {
        ErrorCode::PortTaken => failure.hint(
            "stop its owner, or choose other ports with --livekit-port and --api-port (0 = free)",
        ),
        _ => failure,
    })?;
    if let Some(livekit) = &planned.livekit_dev {
        run.bus().emit(Event::Note { text: format!("API {}, LiveKit {livekit}", planned.api) });
    }
    let setting = Setting {
        supervise: options.binaries.supervise.clone(),
        timeline: Timeline::REAL,
        ready_within: options.ready_within,
    };
    let stack = Stack::start(planned.services, &setting, run.dir(), run.bus()).await?;
    for member in stack.members() {
        run.artifact(&format!("log_{}", member.name), &format!("{}.log", member.name));
    }
    Ok(stack)
}
