use std::fmt::Write as _;
use std::time::Duration;

use dialtone_sim::{Fault, FaultClass, Totals};

use super::Args;
use crate::recordings::tell::metric;

/// Columns of the first word of a line.
const WORD: usize = 12;
/// Columns of a line of faults.
const WIDTH: usize = 96;

/// What came of the seeds, on a screen.
pub fn text(args: &Args, totals: &Totals, took: Duration, threads: usize) -> String {
    let mut text = String::new();
    let mut line = |word: &str, said: String| {
        let _ = writeln!(text, "{word:>WORD$} {said}");
    };
    let Totals { seeds, events, attempts, dials, overtaken, .. } = totals;
    let per_s = *seeds as f64 / took.as_secs_f64().max(1e-9);
    line(
        "seeds",
        format!(
            "{} of {} entries in {:.1} s: {per_s:.0}/s on {threads} threads",
            grouped(*seeds),
            args.entries,
            took.as_secs_f64()
        ),
    );
    line("simulated", format!("{}, {} events", days(totals.simulated), grouped(*events)));
    line(
        "calls",
        format!(
            "{} attempts, {} dials; {} changes overtaken by others",
            grouped(*attempts),
            grouped(*dials),
            grouped(*overtaken)
        ),
    );
    line(
        "histories",
        format!(
            "distinct_traces {} of {}, digest {:016x}",
            grouped(totals.traces.len() as u64),
            grouped(*seeds),
            totals.digest
        ),
    );
    for class in FaultClass::ALL {
        for (n, part) in lines(totals, class).into_iter().enumerate() {
            line(if n == 0 { class.as_str() } else { "" }, part);
        }
    }
    text
}

/// The faults of a class that struck, in lines.
fn lines(totals: &Totals, class: FaultClass) -> Vec<String> {
    let struck = |fault: &Fault| totals.struck.get(fault).copied().unwrap_or(0);
    let mut lines = vec![String::new()];
    for fault in Fault::all().filter(|fault| fault.class() == class) {
        let part = format!("{} {}", fault.as_str(), grouped(struck(&fault)));
        let last = lines.last_mut().expect("there is one from the start");
        if last.is_empty() {
            last.push_str(&part);
        } else if last.len() + part.len() + 3 > WIDTH {
            lines.push(part);
        } else {
            let _ = write!(last, "   {part}");
        }
    }
    lines
}

/// Figures under fixed names.
pub fn metrics(totals: &Totals, took: Duration) {
    let s = took.as_secs_f64().max(1e-9);
    metric("seeds", Some(totals.seeds as f64));
    metric("seeds_per_s", Some(totals.seeds as f64 / s));
    metric("events", Some(totals.events as f64));
    metric("attempts", Some(totals.attempts as f64));
    metric("dials", Some(totals.dials as f64));
    metric("overtaken", Some(totals.overtaken as f64));
    metric("distinct_traces", Some(totals.traces.len() as f64));
    metric("simulated_days", Some(totals.simulated.as_secs_f64() / 86_400.0));
    for fault in Fault::all() {
        let name = format!("fault_{}", fault.as_str().replace('-', "_"));
        metric(name, Some(totals.struck.get(&fault).copied().unwrap_or(0) as f64));
    }
}

/// A number with its thousands apart.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn days(simulated: Duration) -> String {
    let hours = simulated.as_secs() / 3600;
    if hours < 48 { format!("{hours} hours") } else { format!("{} days", grouped(hours / 24)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let told: Vec<_> = [0, 999, 1000, 65_536, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(told, ["0", "999", "1,000", "65,536", "1,234,567"]);
    }
}
