use crate::decoder::{DecodeError, KvUsage, Row, Shape, Token};

/// What each sequence of llama.cpp's memory holds, so that room is promised before it is used.
///
/// Shared tokens are counted for every sequence that has them: there may be more room than is
/// thought, never less.
pub(super) struct Memory {
    shape: Shape,
    total: usize,
    // Whether llama.cpp can forget a part of a sequence; models with a state cannot.
    parts: bool,
    slots: Vec<Slot>,
    closed: u64,
}

/// One sequence.
#[derive(Clone, Default)]
struct Slot {
    // What llama.cpp remembers of it.
    tokens: Vec<Token>,
    // Tokens that it may have; `None` while it is closed.
    room: Option<usize>,
    // When it was closed, in closings.
    since: u64,
}

/// What llama.cpp has to do before a sequence may begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opening {
    /// Sequences to be forgotten.
    pub(super) forget: Vec<usize>,
    /// A sequence whose first [`kept`](Self::kept) tokens are taken over, if not its own.
    pub(super) copy: Option<usize>,
    /// How many of the first tokens need not be run.
    pub(super) kept: usize,
}

impl Memory {
    pub(super) fn new(shape: Shape, total: usize, parts: bool) -> Self {
        Self { shape, total, parts, slots: vec![Slot::default(); shape.slots], closed: 0 }
    }

    /// Begins a sequence; see [`Decoder::open`](crate::Decoder::open).
    pub(super) fn open(
        &mut self,
        slot: usize,
        tokens: &[Token],
        room: usize,
    ) -> Result<Opening, DecodeError> {
        self.check_opening(slot, tokens, room)?;
        let reserved: usize = self.slots.iter().filter_map(|slot| slot.room).sum();
        let free = self.total - reserved.min(self.total);
        if room > free {
            return Err(DecodeError::NoRoom { wanted: room, free });
        }
        let mut opening = Opening::default();
        if self.parts {
            let kept = |at: usize| self.common(at, tokens);
            // Its own if it is as good as any: nothing is to be copied then.
            let others = (0..self.slots.len()).filter(|at| *at != slot);
            let best = others.max_by_key(|at| kept(*at)).filter(|at| kept(*at) > kept(slot));
            opening.copy = best;
            opening.kept = kept(best.unwrap_or(slot));
        }
        self.slots[slot].tokens.clear();
        // The source of a copy goes last: its tokens then live on in the copy.
        let mut closed: Vec<usize> = (0..self.slots.len())
            .filter(|at| self.slots[*at].room.is_none() && !self.slots[*at].tokens.is_empty())
            .collect();
        closed.sort_by_key(|at| (Some(*at) == opening.copy, self.slots[*at].since));
        let mut remembered: usize = closed.iter().map(|at| self.slots[*at].tokens.len()).sum();
        for at in closed {
            if reserved + room + remembered <= self.total {
                break;
            }
            remembered -= self.slots[at].tokens.len();
            self.slots[at].tokens.clear();
            opening.forget.push(at);
        }
        self.slots[slot] =
            Slot { tokens: tokens[..opening.kept].to_vec(), room: Some(room), since: 0 };
        Ok(opening)
    }

    fn check_opening(&self, slot: usize, tokens: &[Token], room: usize) -> Result<(), DecodeError> {
        let why = match self.slots.get(slot) {
            None => format!("there is no slot {slot}"),
            Some(Slot { room: Some(_), .. }) => format!("slot {slot} is busy"),
            Some(_) if tokens.is_empty() || room < tokens.len() || room > self.shape.context => {
                format!("{} tokens, room for {room}: not in a context", tokens.len())
            }
            Some(_) => return Ok(()),
        };
        Err(DecodeError::Failed(why))
    }

    /// How many of the first tokens a sequence remembers, the last one left out.
    fn common(&self, slot: usize, tokens: &[Token]) -> usize {
        let known = self.slots[slot].tokens.iter().zip(tokens);
        known.take_while(|(a, b)| a == b).count().min(tokens.len() - 1)
    }

    /// That a row goes on where its sequence stands.
    pub(super) fn check(&self, row: &Row) -> Result<(), DecodeError> {
        let Some(Slot { tokens, room: Some(room), .. }) = self.slots.get(row.slot) else {
            return Err(DecodeError::Failed(format!("slot {} is not open", row.slot)));
        };
        let fits = row.position == tokens.len() && row.position < *room;
        if fits && (row.token as usize) < self.shape.vocab {
            return Ok(());
        }
        Err(DecodeError::Failed(format!("{row:?} does not follow {} of {room}", tokens.len())))
    }

    /// The row is in llama.cpp's memory.
    pub(super) fn push(&mut self, row: &Row) {
        self.slots[row.slot].tokens.push(row.token);
    }

    /// Rows of these slots and positions are in it no more.
    pub(super) fn undo(&mut self, rows: &[(usize, usize)]) {
        for (slot, position) in rows {
            self.slots[*slot].tokens.truncate(*position);
        }
    }

    /// Tokens of a sequence.
    #[cfg(test)]
    fn len(&self, slot: usize) -> usize {
        self.slots[slot].tokens.len()
    }

    /// The sequence stays remembered as it is; forgotten if llama.cpp cannot use a part of it.
    pub(super) fn close(&mut self, slot: usize) -> bool {
        let Some(slot) = self.slots.get_mut(slot) else { return false };
        self.closed += 1;
        slot.room = None;
        slot.since = self.closed;
        if !self.parts {
            slot.tokens.clear();
        }
        !self.parts
    }

    pub(super) fn usage(&self) -> KvUsage {
        let used = self.slots.iter().filter_map(|slot| slot.room).sum();
        let closed = self.slots.iter().filter(|slot| slot.room.is_none());
        KvUsage { used, cached: closed.map(|slot| slot.tokens.len()).sum(), total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(parts: bool) -> Memory {
        Memory::new(Shape { vocab: 100, context: 16, slots: 3 }, 24, parts)
    }

    fn run(memory: &mut Memory, slot: usize, tokens: &[Token]) {
        for (position, &token) in tokens.iter().enumerate().skip(memory.len(slot)) {
            let row = Row { slot, position, token, logits: false };
            memory.check(&row).expect("it follows");
            memory.push(&row);
        }
    }

    #[test]
    fn what_is_remembered_is_used_again() {
        let mut memory = memory(true);
        assert_eq!(memory.open(0, &[1, 2, 3], 8), Ok(Opening::default()));
        run(&mut memory, 0, &[1, 2, 3, 4]);
        // From another sequence that still runs.
        let opening = Opening { copy: Some(0), kept: 2, ..Opening::default() };
        assert_eq!(memory.open(1, &[1, 2, 9], 8), Ok(opening));
        memory.close(0);
        // Its own, all but the last.
        let opening = Opening { kept: 3, ..Opening::default() };
        assert_eq!(memory.open(0, &[1, 2, 3, 4], 8), Ok(opening));
    }

    #[test]
    fn room_is_made_by_forgetting_the_oldest() {
        let mut memory = memory(true);
        for slot in [1, 0] {
            let tokens = [10 + slot as Token, 2, 3, 4, 5, 6, 7, 8];
            memory.open(slot, &tokens, 8).expect("room");
            run(&mut memory, slot, &tokens);
            memory.close(slot);
        }
        assert_eq!(memory.usage(), KvUsage { used: 0, cached: 16, total: 24 });
        let opening = memory.open(2, &[1], 12).expect("room");
        assert_eq!(opening, Opening { forget: vec![1], ..Opening::default() });
        let refused = memory.open(0, &[1], 13);
        assert_eq!(refused, Err(DecodeError::NoRoom { wanted: 13, free: 12 }));
        assert_eq!(memory.usage(), KvUsage { used: 12, cached: 8, total: 24 });
        // The source of a copy may be forgotten: the copy has its tokens.
        let opening = memory.open(1, &[10, 2, 9], 12).expect("room");
        assert_eq!(opening, Opening { forget: vec![0], copy: Some(0), kept: 2 });
    }

    #[test]
    fn a_state_cannot_be_taken_apart() {
        let mut memory = memory(false);
        memory.open(0, &[1, 2], 8).expect("room");
        run(&mut memory, 0, &[1, 2]);
        assert!(memory.close(0));
        assert_eq!(memory.open(0, &[1, 2, 3], 8), Ok(Opening::default()));
        assert_eq!(memory.usage(), KvUsage { used: 8, cached: 0, total: 24 });
    }

    #[test]
    fn rows_that_break_the_rules_are_refused() {
        let mut memory = memory(true);
        assert!(memory.open(3, &[1], 1).is_err());
        assert!(memory.open(0, &[], 1).is_err());
        assert!(memory.open(0, &[1, 2], 1).is_err());
        assert!(memory.open(0, &[1], 17).is_err());
        memory.open(0, &[1], 1).expect("room");
        assert!(memory.open(0, &[1], 1).is_err());
        for (slot, position, token) in [(0, 1, 1), (0, 0, 100), (1, 0, 1), (9, 0, 1)] {
            assert!(memory.check(&Row { slot, position, token, logits: true }).is_err());
        }
        run(&mut memory, 0, &[1]);
        assert!(memory.check(&Row { slot: 0, position: 1, token: 1, logits: true }).is_err());
    }
}
