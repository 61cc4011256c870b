//! Who holds which page of past tokens.
//!
//! Pages with the same tokens before and in them hold the same numbers, so they are shared: every
//! full page stands in a tree of remembered prefixes, keyed by the page before it and its own
//! tokens (compared whole, so that no collision of hashes shows one conversation another's). What
//! a closed sequence left in its last, partly filled page is a leaf of that tree. Pages that no
//! running sequence holds are given up leaf first, the longest unused first.

use std::collections::HashMap;

use crate::decoder::{DecodeError, KvUsage, Token};

/// Tokens of one page.
pub const PAGE: usize = 32;

/// Number of a page.
pub type PageId = u32;

/// Stands for "no page before this one".
const ROOT: PageId = PageId::MAX;

/// Books of the pages: what is held, shared, remembered and free.
#[derive(Debug)]
pub struct Ledger {
    pages: Vec<Page>,
    /// The last one freed is taken first: its memory has been touched already.
    free: Vec<PageId>,
    /// Remembered pages that no running sequence holds.
    idle: usize,
    /// Full remembered pages by the page before them and their tokens.
    index: HashMap<(PageId, Vec<Token>), PageId>,
    /// Remembered pages that begin a text.
    roots: Vec<PageId>,
    slots: Vec<Option<Sequence>>,
    clock: u64,
}

#[derive(Debug, Default)]
struct Page {
    /// Running sequences that hold it.
    holders: u32,
    node: Option<Node>,
}

/// A page's place in the tree of remembered prefixes.
#[derive(Debug)]
struct Node {
    parent: PageId,
    /// Fewer than [`PAGE`] for what a closed sequence left in its last page.
    tokens: Vec<Token>,
    children: Vec<PageId>,
    used: u64,
}

#[derive(Debug)]
struct Sequence {
    tokens: Vec<Token>,
    /// Every page that the sequence may need; the full ones stand in the tree.
    table: Vec<PageId>,
}

/// A page whose first `tokens` are what a new sequence needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nearest {
    page: PageId,
    tokens: usize,
    /// The whole of it is needed and nobody else has it: it changes hands without a copy.
    whole: bool,
}

/// What a new sequence found remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Tokens that need not be run.
    pub cached: usize,
    /// A page to be copied to another one before the sequence runs.
    pub copy: Option<(PageId, PageId)>,
}

impl Ledger {
    /// Books of `pages` pages for `slots` sequences.
    pub fn new(pages: usize, slots: usize) -> Self {
        let count = PageId::try_from(pages).unwrap_or(ROOT - 1).min(ROOT - 1);
        Self {
            pages: (0..count).map(|_| Page::default()).collect(),
            free: (0..count).rev().collect(),
            idle: 0,
            index: HashMap::new(),
            roots: Vec::new(),
            slots: (0..slots).map(|_| None).collect(),
            clock: 0,
        }
    }

    /// Begins a sequence with room for `room` tokens; see [`Decoder::open`](crate::Decoder::open).
    ///
    /// # Errors
    /// [`DecodeError::NoRoom`], and [`DecodeError::Failed`] for a slot that does not exist or is
    /// taken, no tokens, or too little room. Nothing has changed then.
    pub fn open(
        &mut self,
        slot: usize,
        tokens: &[Token],
        room: usize,
    ) -> Result<Opened, DecodeError> {
        let failed = |why: String| Err(DecodeError::Failed(why));
        match self.slots.get(slot) {
            None => return failed(format!("there is no slot {slot}")),
            Some(Some(_)) => return failed(format!("slot {slot} is taken")),
            Some(None) => {}
        }
        if tokens.is_empty() || room < tokens.len() {
            return failed(format!("{} tokens do not fit a room of {room}", tokens.len()));
        }
        self.clock += 1;
        let mut table = self.walk(&tokens[..tokens.len() - 1]);
        for &page in &table {
            self.hold(page);
        }
        let wanted = room.div_ceil(PAGE);
        let mut fresh = wanted - table.len();
        let before = table.len() * PAGE;
        let parent = table.last().copied().unwrap_or(ROOT);
        let mut near = self.nearest(parent, &tokens[before..tokens.len() - 1]);
        if let Some(found) = near {
            if found.whole {
                self.forget(found.page);
                fresh -= 1;
            }
            self.hold(found.page);
            if !found.whole && fresh > self.free.len() + self.idle {
                // The page to copy from is itself needed: rather compute than wait.
                self.release(found.page);
                near = None;
            }
        }
        if fresh > self.free.len() + self.idle {
            let free = (self.free.len() + self.idle) * PAGE;
            self.undo(&table, near, parent, &tokens[before..]);
            return Err(DecodeError::NoRoom { wanted: fresh * PAGE, free });
        }
        let mut opened = Opened { cached: before, copy: None };
        if let Some(found) = near.filter(|found| found.whole) {
            table.push(found.page);
        }
        for _ in 0..fresh {
            let page = self.take();
            self.pages[page as usize].holders = 1;
            table.push(page);
        }
        if let Some(found) = near {
            opened.cached += found.tokens;
            if !found.whole {
                opened.copy = Some((found.page, table[before / PAGE]));
                self.release(found.page);
            }
        }
        self.slots[slot] = Some(Sequence { tokens: tokens[..opened.cached].to_vec(), table });
        Ok(opened)
    }

    /// Takes back what a failed `open` has done so far.
    fn undo(&mut self, table: &[PageId], near: Option<Nearest>, parent: PageId, rest: &[Token]) {
        if let Some(found) = near {
            if found.whole {
                self.remember(found.page, parent, rest[..found.tokens].to_vec());
            }
            self.release(found.page);
        }
        for &page in table.iter().rev() {
            self.release(page);
        }
    }

    /// The page of `slot` that holds `position`.
    pub fn page(&self, slot: usize, position: usize) -> Option<PageId> {
        self.slots.get(slot)?.as_ref()?.table.get(position / PAGE).copied()
    }

    /// The pages of `slot`, in the order of its tokens. Empty for a free slot.
    pub fn table(&self, slot: usize) -> &[PageId] {
        self.slots.get(slot).and_then(Option::as_ref).map_or(&[], |sequence| &sequence.table)
    }

    /// Tokens of `slot` that are remembered. `None` for a free slot.
    pub fn len(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot)?.as_ref().map(|sequence| sequence.tokens.len())
    }

    /// Tokens that `slot` has room for. 0 for a free slot.
    pub fn room(&self, slot: usize) -> usize {
        self.table(slot).len() * PAGE
    }

    /// Notes that `token` has been run in `slot`. Pages that become full are shared from now on.
    pub fn push(&mut self, slot: usize, token: Token) {
        let Some(sequence) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        sequence.tokens.push(token);
        let len = sequence.tokens.len();
        if !len.is_multiple_of(PAGE) {
            return;
        }
        let at = len / PAGE - 1;
        let Some(&page) = sequence.table.get(at) else { return };
        let parent = if at == 0 { ROOT } else { sequence.table[at - 1] };
        let tokens = sequence.tokens[len - PAGE..].to_vec();
        let key = (parent, tokens);
        if let Some(&same) = self.index.get(&key) {
            // Another sequence was first with the same tokens: its page holds the same numbers.
            sequence.table[at] = same;
            self.hold(same);
            self.release(page);
        } else {
            self.remember(page, parent, key.1);
        }
    }

    /// Ends the sequence in `slot`; its tokens stay remembered while nobody needs the room.
    pub fn close(&mut self, slot: usize) {
        let Some(sequence) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        self.clock += 1;
        let full = sequence.tokens.len() / PAGE;
        let rest = &sequence.tokens[full * PAGE..];
        let parent = if full == 0 { ROOT } else { sequence.table[full - 1] };
        if !rest.is_empty() && !self.covered(parent, rest) {
            self.drop_prefixes(parent, rest);
            self.remember(sequence.table[full], parent, rest.to_vec());
        }
        for &page in sequence.table.iter().rev() {
            if let Some(node) = &mut self.pages[page as usize].node {
                node.used = self.clock;
            }
            self.release(page);
        }
    }

    /// How full the memory is.
    pub fn usage(&self) -> KvUsage {
        KvUsage {
            used: (self.pages.len() - self.free.len() - self.idle) * PAGE,
            cached: self.idle * PAGE,
            total: self.pages.len() * PAGE,
        }
    }

    /// The remembered full pages that `tokens` begins with.
    fn walk(&mut self, tokens: &[Token]) -> Vec<PageId> {
        let mut table = Vec::new();
        let mut key = (ROOT, Vec::with_capacity(PAGE));
        for chunk in tokens.chunks_exact(PAGE) {
            key.1.clear();
            key.1.extend_from_slice(chunk);
            let Some(&page) = self.index.get(&key) else { break };
            if let Some(node) = &mut self.pages[page as usize].node {
                node.used = self.clock;
            }
            table.push(page);
            key.0 = page;
        }
        table
    }

    /// The page after `parent` that has most of the first tokens of `rest`.
    fn nearest(&self, parent: PageId, rest: &[Token]) -> Option<Nearest> {
        let mut best: Option<Nearest> = None;
        let mut offer = |page: PageId, tokens: &[Token], whole: bool| {
            let common = tokens.iter().zip(rest).take_while(|(a, b)| a == b).count();
            let whole = whole && common == tokens.len();
            let better = best.is_none_or(|b| (common, whole) > (b.tokens, b.whole));
            if common > 0 && better {
                best = Some(Nearest { page, tokens: common, whole });
            }
        };
        for &page in self.children(parent) {
            if let Some(node) = &self.pages[page as usize].node {
                offer(page, &node.tokens, node.tokens.len() < PAGE);
            }
        }
        for sequence in self.slots.iter().flatten() {
            let full = sequence.tokens.len() / PAGE;
            let last = if full == 0 { ROOT } else { sequence.table[full - 1] };
            if last == parent
                && let Some(&page) = sequence.table.get(full)
            {
                offer(page, &sequence.tokens[full * PAGE..], false);
            }
        }
        best
    }

    fn children(&self, parent: PageId) -> &[PageId] {
        if parent == ROOT {
            return &self.roots;
        }
        self.pages[parent as usize].node.as_ref().map_or(&[], |node| &node.children)
    }

    fn children_mut(&mut self, parent: PageId) -> Option<&mut Vec<PageId>> {
        if parent == ROOT {
            return Some(&mut self.roots);
        }
        self.pages[parent as usize].node.as_mut().map(|node| &mut node.children)
    }

    /// Whether a remembered page after `parent` begins with `rest`.
    fn covered(&self, parent: PageId, rest: &[Token]) -> bool {
        self.children(parent).iter().any(|&page| {
            self.pages[page as usize].node.as_ref().is_some_and(|n| n.tokens.starts_with(rest))
        })
    }

    /// Gives up the leaves after `parent` that `rest` continues.
    fn drop_prefixes(&mut self, parent: PageId, rest: &[Token]) {
        let shorter: Vec<PageId> = self
            .children(parent)
            .iter()
            .copied()
            .filter(|&page| {
                let node = self.pages[page as usize].node.as_ref();
                node.is_some_and(|n| n.tokens.len() < PAGE && rest.starts_with(&n.tokens))
            })
            .collect();
        for page in shorter {
            self.forget(page);
        }
    }

    /// Puts a held page into the tree.
    fn remember(&mut self, page: PageId, parent: PageId, tokens: Vec<Token>) {
        if tokens.len() == PAGE {
            self.index.insert((parent, tokens.clone()), page);
        }
        let node = Node { parent, tokens, children: Vec::new(), used: self.clock };
        self.pages[page as usize].node = Some(node);
        if let Some(children) = self.children_mut(parent) {
            children.push(page);
        }
    }

    /// Takes a page without children out of the tree; it is free if nobody holds it.
    fn forget(&mut self, page: PageId) {
        let Some(node) = self.pages[page as usize].node.take() else { return };
        if node.tokens.len() == PAGE {
            self.index.remove(&(node.parent, node.tokens));
        }
        if let Some(siblings) = self.children_mut(node.parent) {
            siblings.retain(|&other| other != page);
        }
        if self.pages[page as usize].holders == 0 {
            self.idle -= 1;
            self.free.push(page);
        }
    }

    fn hold(&mut self, page: PageId) {
        let entry = &mut self.pages[page as usize];
        entry.holders += 1;
        if entry.holders == 1 {
            if entry.node.is_some() {
                self.idle -= 1;
            } else if let Some(at) = self.free.iter().rposition(|&free| free == page) {
                self.free.swap_remove(at);
            }
        }
    }

    fn release(&mut self, page: PageId) {
        let entry = &mut self.pages[page as usize];
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 {
            if entry.node.is_some() {
                self.idle += 1;
            } else {
                self.free.push(page);
            }
        }
    }

    /// A page for new tokens: a free one, else the remembered leaf that was unused for longest.
    /// The caller has made sure that there is one.
    fn take(&mut self) -> PageId {
        if self.free.is_empty() {
            let leaf = self.pages.iter().enumerate().filter_map(|(id, page)| {
                let node = page.node.as_ref()?;
                (page.holders == 0 && node.children.is_empty()).then_some((node.used, id))
            });
            if let Some((_, id)) = leaf.min() {
                self.forget(id as PageId);
            }
        }
        self.free.pop().expect("room was counted before pages were taken")
    }
}

#[cfg(test)]
mod tests;
