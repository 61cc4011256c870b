use super::WIDE;
use super::weights::{Lanes, Layer, Tensors};

/// Values of the four gates.
const GATES: usize = 4 * WIDE;
/// Values that are summed at once.
const TILE: usize = 32;

/// The recurrent cell.
pub struct Lstm {
    inputs: Layer,
    /// Of each tile of gates, for each hidden value, the weights of the tile.
    hidden: Vec<Vec<[f32; TILE]>>,
    bias: Vec<f32>,
}

/// What the cell remembers.
pub struct State {
    pub hidden: [f32; WIDE],
    cell: [f32; WIDE],
}

impl Default for State {
    fn default() -> Self {
        Self { hidden: [0.0; WIDE], cell: [0.0; WIDE] }
    }
}

impl Lstm {
    pub fn new(tensors: &Tensors) -> Self {
        let weight = tensors.get("lstm_cell.weight_ih", GATES * WIDE);
        let rows = (0..GATES).map(|row| (0..WIDE).map(|k| weight.at(row * WIDE + k)).collect());
        let inputs = Layer::new(rows, &tensors.get("lstm_cell.bias_ih", GATES));
        let weight = tensors.get("lstm_cell.weight_hh", GATES * WIDE);
        let tile = |tile: usize| {
            let row = |k: usize| std::array::from_fn(|n| weight.at((tile * TILE + n) * WIDE + k));
            (0..WIDE).map(row).collect()
        };
        let hidden = (0..GATES / TILE).map(tile).collect();
        Self { inputs, hidden, bias: tensors.get("lstm_cell.bias_hh", GATES).all() }
    }

    /// What the inputs of many windows give the gates.
    pub fn inputs(&self, inputs: &[Lanes], gates: &mut [Lanes]) {
        self.inputs.linear(0, inputs, gates);
    }

    /// One window on, that of `lane`.
    pub fn step(&self, inputs: &[Lanes], lane: usize, state: &mut State) {
        let mut gates = [0.0_f32; GATES];
        for (gate, (input, bias)) in gates.iter_mut().zip(inputs.iter().zip(&self.bias)) {
            *gate = input[lane] + bias;
        }
        for (gates, weights) in gates.chunks_exact_mut(TILE).zip(&self.hidden) {
            let mut sums = [0.0_f32; TILE];
            for (weights, hidden) in weights.iter().zip(&state.hidden) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += weight * hidden;
                }
            }
            for (gate, sum) in gates.iter_mut().zip(sums) {
                *gate += sum;
            }
        }
        let (input, rest) = gates.split_at_mut(WIDE);
        let (forget, rest) = rest.split_at_mut(WIDE);
        let (candidate, output) = rest.split_at_mut(WIDE);
        for n in 0..WIDE {
            let cell = sigmoid(forget[n]) * state.cell[n] + sigmoid(input[n]) * tanh(candidate[n]);
            state.cell[n] = cell;
            state.hidden[n] = sigmoid(output[n]) * tanh(cell);
        }
    }
}

/// The logistic function.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `e` to the power of x, to the last few bits. That of the standard library differs between
/// systems and goes through its values one by one.
fn exp(x: f32) -> f32 {
    /// Adding it leaves a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    let mut sum = 1.987_569_1e-4;
    for term in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum * rest + term;
    }
    let power = sum * rest * rest + rest + 1.0;
    f32::from_bits(power.to_bits().wrapping_add(rounded.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_e() {
        for step in -8700..8700_i16 {
            let x = f32::from(step) / 100.0;
            let (got, right) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / right - 1.0).abs() < 3e-7, "exp({x}) is {got}, not {right}");
        }
        assert!((tanh(0.5) - 0.5_f32.tanh()).abs() < 1e-6);
        assert!(sigmoid(f32::NEG_INFINITY) < 1e-30 && sigmoid(f32::INFINITY) == 1.0);
    }
}
