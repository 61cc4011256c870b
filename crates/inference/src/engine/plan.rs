use super::Options;
use super::sequence::Sequence;
use super::slot::Slot;
use crate::decoder::Row;

/// Chooses the rows of a step, and says how many each slot has among them.
///
/// First one row of every sequence that generates, so that those who hear a voice keep its
/// pace. Then prompt rows up to the limit of the step, the shortest rest first, since it is the
/// soonest to speak. A sequence gains by waiting: one that came a step earlier goes first unless
/// its rest is longer by more than what a step reads, so none waits for ever.
pub(super) fn plan(slots: &[Slot], options: &Options, rows: &mut Vec<Row>) -> Vec<(usize, usize)> {
    rows.clear();
    let running = || {
        let running = slots.iter().enumerate();
        running.filter_map(|(id, slot)| Some((id, slot.sequence.as_ref()?)))
    };
    let mut taken = Vec::new();
    let talks = |sequence: &Sequence| sequence.generated() > 0;
    for (slot, sequence) in running().filter(|(_, s)| talks(s) && !s.is_paused()) {
        push(slot, sequence, 1, rows);
        taken.push((slot, 1));
    }
    let chunk = options.chunk_rows.max(1);
    // A sequence that reads has a slot, so those that generate leave at least one row.
    let mut left = options.step_rows.max(slots.len()) - rows.len();
    if !rows.is_empty() {
        left = left.min(chunk);
    }
    let mut readers: Vec<_> = running().filter(|(_, s)| !talks(s)).collect();
    readers.sort_by_key(|(_, s)| (s.pending() as u64).saturating_add(s.arrived * chunk as u64));
    for (slot, sequence) in readers {
        let count = sequence.pending().min(left);
        if count > 0 {
            push(slot, sequence, count, rows);
            taken.push((slot, count));
            left -= count;
        }
    }
    taken
}

/// The next `count` rows of a sequence; the last of all that it has wants logits.
fn push(slot: usize, sequence: &Sequence, count: usize, rows: &mut Vec<Row>) {
    let (from, all) = (sequence.done(), sequence.tokens());
    rows.extend((from..from + count).map(|position| Row {
        slot,
        position,
        token: all[position],
        logits: position + 1 == all.len(),
    }));
}
