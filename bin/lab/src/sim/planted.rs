use std::time::Instant;

use dialtone_sim::{Case, Mutant, sweep};

use super::{Args, Progress, table};
use crate::recordings::tell::{check, metric};

/// Whether each planted bug is caught, by what it breaks.
pub fn run(args: &Args, case: &Case<'_>, threads: usize) {
    let mut caught = 0_u32;
    for mutant in Mutant::ALL {
        let began = Instant::now();
        let planted = Case { mutant: Some(*mutant), ..case.clone() };
        let mut progress = Progress::new(args, mutant.as_str());
        let range = args.seed..args.seed.saturating_add(args.seeds);
        let found = sweep(&planted, range, threads, |done| progress.at(done)).wrong;
        progress.clear();
        let outcome = found.map(|seed| (seed, planted.run(seed, false)));
        let seen =
            outcome.as_ref().and_then(|(seed, outcome)| Some((seed, planted.wrong(outcome)?)));
        let detail = match seen {
            Some((seed, text)) => format!("{} (seed {seed}: {text})", mutant.invariant()),
            None => format!(
                "nothing was noticed in {} seeds; {} should have been broken",
                table::grouped(args.seeds),
                mutant.invariant()
            ),
        };
        caught += u32::from(seen.is_some());
        let hint = "the oracle is too weak to notice this bug, or the simulation never comes to \
                    where it matters";
        check(mutant.as_str(), seen.is_some(), began.elapsed(), detail, hint);
    }
    metric("mutants", Some(Mutant::ALL.len() as f64));
    metric("mutants_caught", Some(f64::from(caught)));
}
