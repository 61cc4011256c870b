//! Every weight format, and both families, against the float reference.

use dialtone_inference::Token;
use dialtone_inference::gguf::Type;
use dialtone_inference::model::{Model, Options};
use dialtone_inference::reference;
use dialtone_inference::synthetic::{Family, Synthetic, Types};

use crate::measure::{distance, spread, wide};
use crate::{ALONE, available, gguf, run};

/// Error in parts of the spread of the logits. Integers of 8 bits carry activations past
/// quantised weights; past float weights, only the f16 of keys and values is lost.
const INTEGERS: f64 = 0.03;
const FLOATS: f64 = 0.001;

fn text(len: usize) -> Vec<Token> {
    (0..len).map(|at| ((at * at * 7 + at * 13 + 5) % 250) as Token).collect()
}

fn hold(name: &str, synthetic: &Synthetic, bound: f64) {
    let gguf = gguf(synthetic);
    let text = text(24);
    let exact = reference::logits(&gguf, &text).expect("a reference");
    for isa in available() {
        let options = Options { isa: Some(isa), ..ALONE };
        let mut model = Model::load(&gguf, &options, &|_| ()).expect("a model");
        let found = run(&mut model, &text);
        let mut worst = 0.0f64;
        for (found, exact) in found.iter().zip(&exact) {
            let (found, exact) = (wide(found), wide(exact));
            worst = worst.max(distance(&found, &exact) / spread(&exact));
        }
        println!("{name} {isa}: {worst:.5}");
        assert!(worst > 0.0 && worst < bound, "{name} {isa}: {worst}, at most {bound}");
    }
}

#[test]
fn every_format_is_near_the_float_reference() {
    use Type::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    for ty in [F32, F16, Bf16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K] {
        let bound = if ty.block() == 1 { FLOATS } else { INTEGERS };
        for family in [Family::Llama, Family::Qwen2] {
            let synthetic = Synthetic::small(family, Types::all(ty), 7);
            hold(&format!("{family:?} {ty}"), &synthetic, bound);
        }
    }
}

#[test]
fn the_usual_mix_is_near_the_float_reference() {
    for tied in [false, true] {
        let synthetic = Synthetic { tied, ..Synthetic::small(Family::Llama, Types::q4_k_m(), 11) };
        hold("Q4_K_M", &synthetic, INTEGERS);
    }
}
