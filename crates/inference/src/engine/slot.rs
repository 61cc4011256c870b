use super::sequence::Sequence;

/// A place for one sequence.
#[derive(Default)]
pub(super) struct Slot {
    pub sequence: Option<Sequence>,
    /// The session that used it last.
    session: Option<String>,
    /// When that was: the larger, the later; 0 for never.
    used: u64,
}

impl Slot {
    /// Puts a sequence in, at `time`.
    pub fn take(&mut self, sequence: Sequence, time: u64) {
        self.used = time;
        self.session = sequence.session().map(str::to_owned);
        self.sequence = Some(sequence);
    }

    /// The free slot for a turn of `session`: the one that it used last, since that remembers
    /// the earlier turns; else one that no session will miss, the longest unused first.
    pub fn choose(slots: &[Self], session: Option<&str>) -> Option<usize> {
        let free = || slots.iter().enumerate().filter(|(_, slot)| slot.sequence.is_none());
        let own = session.and_then(|session| {
            let own = free().filter(|(_, slot)| slot.session.as_deref() == Some(session));
            own.max_by_key(|(_, slot)| slot.used)
        });
        own.or_else(|| free().min_by_key(|(_, slot)| (slot.session.is_some(), slot.used)))
            .map(|(id, _)| id)
    }
}
