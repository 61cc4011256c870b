//! Fair share: who gets what of the calls that can begin now.
//!
//! Tenants share evenly, whatever they have going on, and the batches of a tenant share
//! what it gets; what one does not want goes to the others. Where there is not enough for
//! everyone, those are served that have waited longest, and between them those that have
//! never been served: a small batch need not wait until all large ones have had their turn,
//! and however many such come, every second turn is one of the others.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Looks after which one that has wanted nothing is forgotten.
const FORGOTTEN_AFTER: u64 = 1_000;

/// A batch that may begin calls.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a, T, B> {
    /// Its tenant.
    pub tenant: &'a T,
    /// The batch.
    pub batch: &'a B,
    /// Calls at most; with 0 it is as if it were not there.
    pub most: u32,
    /// Whether it begins all of them or none, even if that is more than its share.
    pub whole: bool,
}

/// Who has been served when.
#[derive(Debug)]
pub struct Round<T, B> {
    tenants: Queue<T>,
    batches: HashMap<T, Queue<B>>,
    look: u64,
}

impl<T, B> Default for Round<T, B> {
    fn default() -> Self {
        Self { tenants: Queue::default(), batches: HashMap::new(), look: 0 }
    }
}

impl<T: Clone + Ord + Hash, B: Clone + Eq + Hash> Round<T, B> {
    /// Hands out up to `limit` calls: places in `wants`, each with its share, which is never
    /// 0. `room` is what a tenant may begin at most.
    pub fn share(
        &mut self,
        wants: &[Want<'_, T, B>],
        room: impl Fn(&T) -> u32,
        limit: u32,
    ) -> Vec<(usize, u32)> {
        self.look += 1;
        let mut by_tenant: BTreeMap<&T, Vec<usize>> = BTreeMap::new();
        for (place, want) in wants.iter().enumerate().filter(|(_, want)| want.most > 0) {
            by_tenant.entry(want.tenant).or_default().push(place);
        }
        let mut tenants: Vec<_> = by_tenant.into_iter().collect();
        self.tenants.order(&mut tenants, |(tenant, _)| *tenant, self.look);
        let wanted = |places: &[usize]| {
            places.iter().fold(0_u32, |sum, place| sum.saturating_add(wants[*place].most))
        };
        let all: Vec<_> =
            tenants.iter().map(|(tenant, places)| wanted(places).min(room(tenant))).collect();
        let (mut left, mut shares, mut parts) = (limit, Vec::new(), Vec::new());
        for ((tenant, mut places), part) in tenants.into_iter().zip(fill(&all, limit)) {
            if part == 0 || left == 0 {
                continue;
            }
            let queue = self.batches.entry(tenant.clone()).or_default();
            queue.order(&mut places, |place| wants[*place].batch, self.look);
            let each: Vec<_> = places.iter().map(|place| wants[*place].most).collect();
            let mut served = Vec::new();
            for (place, share) in places.into_iter().zip(fill(&each, part)) {
                if share == 0 || left == 0 {
                    break;
                }
                let want = &wants[place];
                let share = if want.whole { want.most } else { share.min(left) };
                left = left.saturating_sub(share);
                served.push((share, want.batch));
                shares.push((place, share));
            }
            parts.push((served.iter().map(|(share, _)| share).sum(), tenant));
            queue.serve(served);
        }
        self.tenants.serve(parts);
        self.forget();
        shares
    }

    fn forget(&mut self) {
        if self.look.is_multiple_of(FORGOTTEN_AFTER) {
            let before = self.look - FORGOTTEN_AFTER;
            self.tenants.forget(before);
            self.batches.values_mut().for_each(|queue| queue.forget(before));
            self.batches.retain(|_, queue| !queue.known.is_empty());
        }
    }
}

/// Gives each of those that want so many the same, as far as it goes; what is left over
/// goes to the first.
fn fill(wants: &[u32], limit: u32) -> Vec<u32> {
    let (mut got, mut left) = (vec![0; wants.len()], limit);
    let mut open: Vec<usize> = (0..wants.len()).filter(|place| wants[*place] > 0).collect();
    while left > 0 && !open.is_empty() {
        let each = (left / u32::try_from(open.len()).unwrap_or(u32::MAX)).max(1);
        for place in &open {
            let more = each.min(wants[*place] - got[*place]).min(left);
            got[*place] += more;
            left -= more;
        }
        open.retain(|place| got[*place] < wants[*place]);
    }
    got
}

/// Those who wait for their turn.
#[derive(Debug)]
struct Queue<K> {
    known: HashMap<K, Place>,
    turns: u64,
    /// Whether the last turn was the first one of somebody.
    newcomer: bool,
}

/// Where somebody stands in a queue.
#[derive(Debug)]
struct Place {
    /// The turn of his that was the last one, or that he came after.
    turn: u64,
    newcomer: bool,
    /// The look that saw him last.
    seen: u64,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), turns: 0, newcomer: false }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Puts those who wait into the order in which it is their turn.
    fn order<'k, W>(&mut self, waiting: &mut Vec<W>, key: impl Fn(&W) -> &'k K, look: u64)
    where
        K: 'k,
    {
        // Those who were there before the queue have all been waiting.
        let newcomer = !self.known.is_empty();
        let (mut newcomers, mut others) = (Vec::new(), Vec::new());
        for one in waiting.drain(..) {
            let turn = self.turns;
            let new = || Place { turn, newcomer, seen: look };
            let place = self.known.entry(key(&one).clone()).or_insert_with(new);
            place.seen = look;
            let these = if place.newcomer { &mut newcomers } else { &mut others };
            these.push((place.turn, one));
        }
        newcomers.sort_by_key(|(turn, _)| *turn);
        others.sort_by_key(|(turn, _)| *turn);
        let mut newcomers = newcomers.into_iter().map(|(_, one)| one);
        let mut others = others.into_iter().map(|(_, one)| one);
        if self.newcomer {
            waiting.extend(others.next());
        }
        loop {
            let pair = [newcomers.next(), others.next()];
            if pair.iter().all(Option::is_none) {
                break;
            }
            waiting.extend(pair.into_iter().flatten());
        }
    }

    /// These had their turn, in this order, each with so much. Who got less is served sooner
    /// again, so that a remainder does not always go to the same.
    fn serve(&mut self, mut served: Vec<(u32, &K)>) {
        let newcomer = |key| self.known.get(key).is_some_and(|place| place.newcomer);
        self.newcomer = served.last().is_some_and(|(_, key)| newcomer(*key));
        served.sort_by_key(|(share, _)| *share);
        for (_, key) in served {
            self.turns += 1;
            if let Some(place) = self.known.get_mut(key) {
                (place.turn, place.newcomer) = (self.turns, false);
            }
        }
    }

    fn forget(&mut self, before: u64) {
        self.known.retain(|_, place| place.seen > before);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each batch, which has the tenant and wants so many, gets of `limit` calls.
    fn serve(round: &mut Round<u8, usize>, batches: &[(u8, u32)], limit: u32) -> Vec<u32> {
        let names: Vec<usize> = (0..batches.len()).collect();
        let wants: Vec<_> = batches
            .iter()
            .zip(&names)
            .map(|((tenant, most), batch)| Want { tenant, batch, most: *most, whole: false })
            .collect();
        let mut got = vec![0; batches.len()];
        for (place, share) in round.share(&wants, |_| u32::MAX, limit) {
            got[place] += share;
        }
        got
    }

    fn add(all: &mut [u32], now: &[u32]) {
        all.iter_mut().zip(now).for_each(|(all, now)| *all += now);
    }

    #[test]
    fn a_tenant_with_many_batches_gets_no_more_than_one_with_one() {
        let mut batches = vec![(1, 16); 9];
        batches.push((2, 16));
        let (mut round, mut got) = (Round::default(), vec![0; 10]);
        for _ in 0..1800 {
            add(&mut got, &serve(&mut round, &batches, 16));
        }
        let each = [vec![1600; 9], vec![14_400]].concat();
        assert_eq!(got, each);
    }

    #[test]
    fn the_batches_of_a_tenant_share_what_it_may_begin() {
        let names = [0, 1, 2, 3];
        let want = |tenant, batch| Want { tenant, batch, most: 99, whole: false };
        let wants = [
            want(&"a", &names[0]),
            want(&"a", &names[1]),
            want(&"a", &names[2]),
            want(&"b", &names[3]),
        ];
        let mut round = Round::default();
        let shares = round.share(&wants, |tenant| if *tenant == "a" { 5 } else { 100 }, 16);
        assert_eq!(shares, [(0, 2), (1, 2), (2, 1), (3, 11)]);
    }

    #[test]
    fn one_call_at_a_time_goes_round() {
        let (mut round, mut got) = (Round::default(), vec![0; 4]);
        for _ in 0..400 {
            add(&mut got, &serve(&mut round, &[(1, 9), (1, 9), (2, 9), (2, 9)], 1));
        }
        assert_eq!(got, [100; 4]);
    }

    #[test]
    fn a_newcomer_is_served_at_the_next_look() {
        let mut round = Round::default();
        let mut batches = vec![(1, 1000); 300];
        for _ in 0..7 {
            serve(&mut round, &batches, 16);
        }
        batches.push((1, 10));
        assert!(serve(&mut round, &batches, 16)[300] > 0);
    }

    #[test]
    fn a_wave_begins_whole_and_what_is_left_goes_to_the_others() {
        let names = [0, 1, 2];
        let want = |batch, most, whole| Want { tenant: &1, batch, most, whole };
        let wants =
            [want(&names[0], 3, false), want(&names[1], 12, true), want(&names[2], 9, false)];
        let mut round = Round::default();
        assert_eq!(round.share(&wants, |_| u32::MAX, 16), [(0, 3), (1, 12), (2, 1)]);
    }

    /// Looks at batches of one tenant of which all always want more, with so many that are
    /// new before each; gives after how many turns of others each was served, at most.
    fn longest_wait(at_first: usize, looks: &[(u32, usize)]) -> (u32, usize) {
        let mut round = Round::default();
        let mut waits = vec![0; at_first];
        let mut longest = 0;
        for (limit, new) in looks {
            waits.extend(std::iter::repeat_n(0, *new));
            let batches = vec![(1, 1000); waits.len()];
            let got = serve(&mut round, &batches, *limit);
            let served = u32::try_from(got.iter().filter(|n| **n > 0).count()).expect("few");
            for (wait, got) in waits.iter_mut().zip(&got) {
                longest = longest.max(*wait + if *got > 0 { 1 } else { served });
                *wait = if *got > 0 { 0 } else { *wait + served };
            }
        }
        (longest, waits.len())
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_one_round(
            n in 1..40_usize, limits in proptest::collection::vec(1..20_u32, 1..80),
        ) {
            let looks: Vec<_> = limits.iter().map(|limit| (*limit, 0)).collect();
            let (longest, n) = longest_wait(n, &looks);
            prop_assert!(longest as usize <= n + 1, "{longest} turns of {n} batches");
        }

        #[test]
        fn newcomers_cost_the_others_every_second_turn_at_most(
            n in 1..20_usize,
            looks in proptest::collection::vec((1..8_u32, 0..6_usize), 1..60),
        ) {
            let (longest, n) = longest_wait(n, &looks);
            prop_assert!(longest as usize <= 2 * n + 2, "{longest} turns of {n} batches");
        }

        #[test]
        fn nothing_is_given_twice_or_left_and_every_tenant_gets_its_part(
            looks in proptest::collection::vec(
                (proptest::collection::vec((0..4_u8, 0..40_u32), 1..12), 0..64_u32), 1..6,
            ),
        ) {
            let mut round = Round::default();
            for (batches, limit) in looks {
                let got = serve(&mut round, &batches, limit);
                let wanted: u32 = batches.iter().map(|(_, most)| most).sum();
                prop_assert_eq!(got.iter().sum::<u32>(), limit.min(wanted));
                let both = || got.iter().zip(&batches);
                prop_assert!(both().all(|(got, (_, most))| got <= most));
                let of = |name: u8| -> (u32, u32) {
                    let own = both().filter(|(_, (tenant, _))| *tenant == name);
                    own.fold((0, 0), |(got, most), (n, (_, m))| (got + n, most + m))
                };
                let mut names: Vec<u8> = batches.iter().map(|(tenant, _)| *tenant).collect();
                names.sort_unstable();
                names.dedup();
                let part = limit / u32::try_from(names.len()).expect("few");
                for (got, most) in names.into_iter().map(of) {
                    prop_assert!(got >= part.min(most), "{got} of {most}, its part is {part}");
                }
            }
        }
    }
}
