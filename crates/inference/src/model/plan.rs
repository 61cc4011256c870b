use super::attention::ROWS;
use crate::decoder::Row;

/// Which rows attend together: rows of one sequence, in order, not too many.
#[derive(Debug, Default)]
pub struct Plan {
    /// Rows of the step, by sequence.
    order: Vec<usize>,
    /// Parts of `order`.
    blocks: Vec<(usize, usize)>,
}

impl Plan {
    /// Plans the step over `rows`.
    pub fn set(&mut self, rows: &[Row]) {
        self.order.clear();
        self.order.extend(0..rows.len());
        // Stable, without a buffer: the index keeps rows of one sequence in order.
        self.order.sort_unstable_by_key(|&row| (rows[row].slot, row));
        self.blocks.clear();
        for (at, &row) in self.order.iter().enumerate() {
            match self.blocks.last_mut() {
                Some((first, end))
                    if rows[self.order[*first]].slot == rows[row].slot && at - *first < ROWS =>
                {
                    *end = at + 1;
                }
                _ => self.blocks.push((at, at + 1)),
            }
        }
    }

    /// Blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The rows of a block.
    pub fn block(&self, block: usize) -> &[usize] {
        let (first, end) = self.blocks[block];
        &self.order[first..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_sequence_stay_in_order_and_blocks_stay_small() {
        let row = |slot, position| Row { slot, position, token: 0, logits: false };
        let mut rows = vec![row(1, 9), row(0, 3)];
        rows.extend((0..ROWS + 2).map(|at| row(2, at)));
        rows.extend([row(1, 10), row(0, 4)]);
        let mut plan = Plan::default();
        plan.set(&rows);
        let blocks: Vec<Vec<usize>> = (0..plan.len()).map(|b| plan.block(b).to_vec()).collect();
        let (long, last) = (2..2 + ROWS, ROWS + 4);
        let expected: Vec<Vec<usize>> =
            vec![vec![1, last + 1], vec![0, last], long.collect(), vec![ROWS + 2, ROWS + 3]];
        assert_eq!(blocks, expected);
    }
}
