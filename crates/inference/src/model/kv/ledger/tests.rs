use proptest::prelude::*;

use super::*;

const PAGES: usize = 12;
const SLOTS: usize = 3;

/// What a step does to the books.
#[derive(Clone, Debug)]
enum Step {
    Open { slot: usize, prompt: Vec<Token>, more: usize },
    Run { slot: usize, count: usize, token: Token },
    Close { slot: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    // Few texts with long common beginnings, so that pages are shared, forked and copied.
    let prompt = (0u32..3, 1usize..120, prop::collection::vec(0u32..2, 0..6)).prop_map(
        |(kind, len, tail)| {
            let mut tokens: Vec<Token> =
                (0..len).map(|at| u32::from(at % 50 == 40) * kind).collect();
            tokens.extend(tail);
            tokens
        },
    );
    prop_oneof![
        (slot.clone(), prompt, 0usize..100).prop_map(|(slot, prompt, more)| Step::Open {
            slot,
            prompt,
            more
        }),
        (slot.clone(), 1usize..70, 0u32..2).prop_map(|(slot, count, token)| Step::Run {
            slot,
            count,
            token
        }),
        slot.prop_map(|slot| Step::Close { slot }),
    ]
}

/// The simple model: what was written where, as the whole text up to each token.
struct World {
    ledger: Ledger,
    content: Vec<Vec<Vec<Token>>>,
    prompts: Vec<Vec<Token>>,
    written: Vec<Vec<Token>>,
}

impl World {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(PAGES, SLOTS),
            content: vec![vec![Vec::new(); PAGE]; PAGES],
            prompts: vec![Vec::new(); SLOTS],
            written: vec![Vec::new(); SLOTS],
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Open { slot, prompt, more } => self.open(*slot, prompt, prompt.len() + more),
            Step::Run { slot, count, token } => self.run(*slot, *count, *token),
            Step::Close { slot } => {
                self.ledger.close(*slot);
                self.written[*slot].clear();
            }
        }
        self.check();
    }

    fn open(&mut self, slot: usize, prompt: &[Token], room: usize) {
        let (before, tables) = (self.ledger.usage(), self.tables());
        let taken = self.ledger.len(slot).is_some();
        match self.ledger.open(slot, prompt, room) {
            Ok(opened) => {
                assert!(!taken && opened.cached < prompt.len());
                assert!(self.ledger.room(slot) >= room);
                if let Some((from, to)) = opened.copy {
                    self.content[to as usize] = self.content[from as usize].clone();
                }
                self.prompts[slot] = prompt.to_vec();
                self.written[slot] = prompt[..opened.cached].to_vec();
            }
            Err(DecodeError::NoRoom { wanted, free }) => {
                assert!(wanted > free && !taken);
                assert_eq!(before, self.ledger.usage());
                assert_eq!(tables, self.tables());
            }
            Err(DecodeError::Failed(_)) => assert!(taken),
        }
    }

    fn run(&mut self, slot: usize, count: usize, token: Token) {
        for _ in 0..count {
            let Some(at) = self.ledger.len(slot) else { return };
            if at == self.ledger.room(slot) {
                return;
            }
            let page = self.ledger.page(slot, at).expect("a page for every token of the room");
            let holders = (0..SLOTS).filter(|&s| self.ledger.table(s).contains(&page)).count();
            assert_eq!(holders, 1, "a page is written while others read it");
            let token = self.prompts[slot].get(at).copied().unwrap_or(token);
            self.written[slot].push(token);
            self.content[page as usize][at % PAGE] = self.written[slot].clone();
            self.ledger.push(slot, token);
        }
    }

    fn tables(&self) -> Vec<Vec<PageId>> {
        (0..SLOTS).map(|slot| self.ledger.table(slot).to_vec()).collect()
    }

    fn check(&self) {
        let ledger = &self.ledger;
        for slot in 0..SLOTS {
            let Some(len) = ledger.len(slot) else { continue };
            assert_eq!(len, self.written[slot].len());
            for at in 0..len {
                let page = ledger.page(slot, at).expect("a page for every token") as usize;
                assert_eq!(self.content[page][at % PAGE], self.written[slot][..=at]);
            }
        }
        let mut idle = 0;
        for (id, page) in ledger.pages.iter().enumerate() {
            let id = id as PageId;
            let held = self.tables().iter().flatten().filter(|&&p| p == id).count();
            let free = ledger.free.iter().filter(|&&p| p == id).count();
            assert_eq!(page.holders as usize, held);
            assert_eq!(free, usize::from(held == 0 && page.node.is_none()), "page {id}");
            idle += usize::from(held == 0 && page.node.is_some());
            if let Some(node) = &page.node {
                assert!(ledger.children(node.parent).contains(&id), "an orphan");
                if node.parent != ROOT {
                    let parent = &ledger.pages[node.parent as usize];
                    assert!(parent.node.is_some() && parent.holders >= page.holders);
                }
            }
        }
        assert_eq!(idle, ledger.idle);
        let usage = ledger.usage();
        assert!(usage.used + usage.cached <= usage.total);
        for (key, &page) in &ledger.index {
            let node = ledger.pages[page as usize].node.as_ref().expect("an indexed page");
            assert_eq!((node.parent, &node.tokens), (key.0, &key.1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_sees_its_own_text_whatever_is_shared(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        for slot in 0..SLOTS {
            world.ledger.close(slot);
        }
        prop_assert_eq!(world.ledger.usage().used, 0);
    }
}

fn run(ledger: &mut Ledger, slot: usize, tokens: &[Token]) {
    for &token in &tokens[ledger.len(slot).expect("an open slot")..] {
        ledger.push(slot, token);
    }
}

#[test]
fn a_second_sequence_shares_full_pages_and_copies_the_rest() {
    let mut ledger = Ledger::new(8, 2);
    let prompt: Vec<Token> = (0..70).collect();
    assert_eq!(ledger.open(0, &prompt, 80), Ok(Opened { cached: 0, copy: None }));
    run(&mut ledger, 0, &prompt);
    let mut other = prompt.clone();
    other.push(7);
    let opened = ledger.open(1, &other, 80).expect("room");
    assert_eq!(opened.cached, 70);
    assert_eq!(ledger.table(0)[..2], ledger.table(1)[..2]);
    assert_eq!(opened.copy, Some((ledger.table(0)[2], ledger.table(1)[2])));
    assert_eq!(ledger.usage().used, 4 * PAGE);
}

#[test]
fn the_next_turn_goes_on_in_the_page_where_the_last_one_ended() {
    let mut ledger = Ledger::new(4, 2);
    let prompt: Vec<Token> = (0..40).collect();
    ledger.open(0, &prompt, 64).expect("room");
    run(&mut ledger, 0, &prompt);
    ledger.close(0);
    assert_eq!(ledger.usage(), KvUsage { used: 0, cached: 64, total: 128 });
    let next: Vec<Token> = (0..50).collect();
    assert_eq!(ledger.open(1, &next, 60), Ok(Opened { cached: 40, copy: None }));
}

#[test]
fn a_prompt_that_is_remembered_whole_still_runs_its_last_token() {
    let mut ledger = Ledger::new(6, 2);
    let prompt: Vec<Token> = (0..64).collect();
    ledger.open(0, &prompt, 64).expect("room");
    run(&mut ledger, 0, &prompt);
    ledger.close(0);
    let opened = ledger.open(1, &prompt, 64).expect("room");
    assert_eq!(opened.cached, 63);
    assert!(opened.copy.is_some());
}

#[test]
fn no_room_is_told_and_eviction_takes_the_longest_unused() {
    let mut ledger = Ledger::new(4, 3);
    let text = |first: Token| -> Vec<Token> { (first..first + 33).collect() };
    for first in [0, 100] {
        ledger.open(0, &text(first), 33).expect("room");
        run(&mut ledger, 0, &text(first));
        ledger.close(0);
    }
    assert_eq!(ledger.usage().cached, 4 * PAGE);
    ledger.open(0, &text(200), 33).expect("the oldest pages are given up");
    let newest = ledger.open(1, &text(100), 33).expect("still remembered");
    assert_eq!(newest.cached, 32);
    assert!(matches!(
        ledger.open(2, &text(0), 33),
        Err(DecodeError::NoRoom { wanted: 64, free: 0 })
    ));
    ledger.close(0);
    assert_eq!(ledger.open(2, &text(0), 33).expect("room again").cached, 0);
}

#[test]
fn broken_rules_are_told() {
    let mut ledger = Ledger::new(4, 1);
    for (slot, tokens, room) in [(1, vec![1], 4), (0, vec![], 4), (0, vec![1, 2], 1)] {
        assert!(matches!(ledger.open(slot, &tokens, room), Err(DecodeError::Failed(_))));
    }
    ledger.open(0, &[1], 4).expect("room");
    assert!(matches!(ledger.open(0, &[1], 4), Err(DecodeError::Failed(_))));
}
