//! Fair share: who gets what of the calls that can begin now.
//!
//! Tenants share evenly, whatever they have going on, and the batches of a tenant share
//! what it gets. What one leaves goes to those after it, and who is first changes with
//! every turn, so that a remainder does not always go to the same.

use std::collections::BTreeMap;

/// The order in which batches are served in one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Batches of the tenants that have not been served, the next one last.
    tenants: Vec<Tenant>,
    /// Batches of the tenant that is being served, the next one last.
    batches: Vec<usize>,
    /// What is left of that tenant's share.
    of_tenant: u32,
    /// What was left when the last batch was given its share.
    left: u32,
}

/// Batches of one tenant, and the calls that it may begin at most.
type Tenant = (Vec<usize>, u32);

impl Turn {
    /// The order of turn number `turn` for batches whose tenants are these, each batch at
    /// the place of its tenant, which goes with the calls that the tenant may begin at most.
    pub fn new<T: Ord>(tenants: impl IntoIterator<Item = (T, u32)>, turn: usize) -> Self {
        let mut by_tenant: BTreeMap<T, Tenant> = BTreeMap::new();
        for (batch, (tenant, most)) in tenants.into_iter().enumerate() {
            by_tenant.entry(tenant).or_insert((Vec::new(), most)).0.push(batch);
        }
        let mut tenants: Vec<_> = by_tenant.into_values().collect();
        let all = tenants.len().max(1);
        for (batches, _) in &mut tenants {
            // Each round of tenants is another turn of their batches.
            let first = (turn / all) % batches.len();
            batches.rotate_left(first);
            batches.reverse();
        }
        tenants.rotate_left(turn % all);
        tenants.reverse();
        Self { tenants, batches: Vec::new(), of_tenant: 0, left: 0 }
    }

    /// The next batch, and its share of the `left` calls that nobody has taken yet; `None`
    /// when all have been served or nothing is left.
    pub fn next(&mut self, left: u32) -> Option<(usize, u32)> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        self.of_tenant = self.of_tenant.saturating_sub(self.left.saturating_sub(left));
        self.left = left;
        if self.batches.is_empty() || self.of_tenant == 0 {
            let waiting = count(self.tenants.len());
            let (batches, most) = self.tenants.pop().filter(|_| left > 0)?;
            self.of_tenant = left.div_ceil(waiting).min(most);
            self.batches = batches;
        }
        let share = self.of_tenant.div_ceil(count(self.batches.len()));
        Some((self.batches.pop()?, share))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each batch gets of `limit` calls if it wants no more than `wanted`.
    fn serve(tenants: &[u8], wanted: &[u32], limit: u32, turn: usize) -> Vec<u32> {
        let (mut left, mut got) = (limit, vec![0; tenants.len()]);
        let mut order = Turn::new(tenants.iter().map(|tenant| (tenant, u32::MAX)), turn);
        while let Some((batch, share)) = order.next(left) {
            got[batch] = share.min(wanted[batch]);
            left -= got[batch];
        }
        got
    }

    #[test]
    fn a_tenant_with_many_batches_gets_no_more_than_one_with_one() {
        let tenants = [1, 1, 1, 1, 1, 1, 1, 1, 1, 2];
        let mut got = vec![0; tenants.len()];
        for turn in 0..1800 {
            for (all, now) in got.iter_mut().zip(serve(&tenants, &[16; 10], 16, turn)) {
                *all += now;
            }
        }
        let of_first: u32 = got[..9].iter().sum();
        assert_eq!(of_first, got[9], "{got:?}");
        let (least, most) = (got[..9].iter().min(), got[..9].iter().max());
        let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
        assert!(most - least <= most / 50, "{got:?}");
    }

    #[test]
    fn the_batches_of_a_tenant_share_what_it_may_begin() {
        let mut order = Turn::new([("a", 5), ("a", 5), ("a", 5), ("b", 100)], 0);
        let mut left = 16;
        let mut got = [0; 4];
        while let Some((batch, share)) = order.next(left) {
            got[batch] = share;
            left -= share;
        }
        assert_eq!(got, [2, 2, 1, 11]);
    }

    #[test]
    fn one_slot_at_a_time_goes_round() {
        let mut got = [0; 4];
        for turn in 0..400 {
            for (all, now) in got.iter_mut().zip(serve(&[1, 1, 2, 2], &[9; 4], 1, turn)) {
                *all += now;
            }
        }
        assert_eq!(got, [100; 4]);
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_every_tenant_gets_its_part(
            batches in proptest::collection::vec((0..4_u8, 0..40_u32), 1..12),
            limit in 0..64_u32, turn in 0..1000_usize,
        ) {
            let (tenants, wanted): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
            let got = serve(&tenants, &wanted, limit, turn);
            prop_assert!(got.iter().sum::<u32>() <= limit);
            prop_assert!(got.iter().zip(&wanted).all(|(got, wanted)| got <= wanted));
            let of = |counts: &[u32], tenant: u8| -> u32 {
                let of_tenant = |(of, n): (&u8, &u32)| (*of == tenant).then_some(*n);
                tenants.iter().zip(counts).filter_map(of_tenant).sum()
            };
            let mut names = tenants.clone();
            names.sort_unstable();
            names.dedup();
            for tenant in &names {
                let (got, wanted) = (of(&got, *tenant), of(&wanted, *tenant));
                // A batch that wants more than its part may leave some of what a small one
                // left; that is given out in the next turn.
                let part = limit / u32::try_from(names.len()).expect("few");
                prop_assert!(got > 0 || wanted == 0 || part == 0, "{tenant} got nothing");
            }
        }

        #[test]
        fn tenants_that_want_much_get_the_same(
            tenants in proptest::collection::vec(0..4_u8, 1..12), limit in 0..64_u32, turn: u16,
        ) {
            let wanted = vec![100; tenants.len()];
            let got = serve(&tenants, &wanted, limit, turn.into());
            prop_assert_eq!(got.iter().sum::<u32>(), limit);
            let mut by_tenant: BTreeMap<u8, u32> = BTreeMap::new();
            for (tenant, got) in tenants.iter().zip(&got) {
                *by_tenant.entry(*tenant).or_default() += got;
            }
            let (least, most) = (by_tenant.values().min(), by_tenant.values().max());
            prop_assert!(most.copied().unwrap_or(0) - least.copied().unwrap_or(0) <= 1);
        }
    }
}
