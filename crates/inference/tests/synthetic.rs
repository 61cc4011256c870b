//! Generated models: valid files, the same everywhere, with values of the right size.

use dialtone_inference::gguf::{Gguf, Type};
use dialtone_inference::quant::dequantize;
use dialtone_inference::synthetic::{Family, Synthetic, Types};

fn open(model: &Synthetic) -> Gguf {
    Gguf::from_bytes(model.to_bytes().expect("made")).expect("valid")
}

#[test]
fn every_format_and_family_makes_a_valid_file() {
    for family in [Family::Llama, Family::Qwen2] {
        for &ty in Type::ALL.iter().filter(|ty| ty.runs()) {
            let gguf = open(&Synthetic::small(family, Types::all(ty), 7));
            let tensor = |name: &str| gguf.tensor(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(tensor("blk.1.ffn_down.weight").dims, [512, 256, 1, 1]);
            assert_eq!(tensor("blk.1.attn_k.weight").dims, [256, 128, 1, 1]);
            assert_eq!(tensor("token_embd.weight").ty, ty);
            assert_eq!(tensor("output.weight").ty, ty);
            assert_eq!(tensor("output_norm.weight").ty, Type::F32);
            let bias = gguf.tensor("blk.0.attn_q.bias");
            assert_eq!(bias.is_some(), family == Family::Qwen2);
        }
    }
}

#[test]
fn the_bytes_depend_on_the_seed_alone() {
    let bytes = |seed| {
        let model = Synthetic::small(Family::Llama, Types::q4_k_m(), seed);
        model.to_bytes().expect("made")
    };
    assert!(bytes(7) == bytes(7));
    assert!(bytes(7) != bytes(8));
    // On any system; other bytes would make goldens elsewhere worthless.
    // FNV-1a.
    let hash = bytes(7).iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    assert_eq!(hash, 0x9bc5_43d8_a133_c1e1);
}

#[test]
fn the_mix_spends_more_bits_where_q4_k_m_files_do() {
    let mut model = Synthetic::small(Family::Llama, Types::q4_k_m(), 7);
    model.layers = 8;
    let gguf = open(&model);
    let better: Vec<usize> = (0..8)
        .filter(|layer| {
            let ty = |part| gguf.tensor(&format!("blk.{layer}.{part}.weight")).expect("there").ty;
            assert_eq!((ty("attn_q"), ty("attn_v")), (Type::Q4K, ty("ffn_down")));
            ty("ffn_down") == Type::Q6K
        })
        .collect();
    assert_eq!(better, [0, 3, 6, 7]);
    assert_eq!(gguf.tensor("output.weight").expect("there").ty, Type::Q6K);

    // Rows of 576 are not whole blocks of 256; tied embeddings are the output matrix.
    (model.embed, model.heads, model.kv_heads, model.tied) = (576, 9, 3, true);
    let gguf = open(&model);
    assert_eq!(gguf.tensor("blk.1.attn_q.weight").expect("there").ty, Type::Q5_0);
    assert_eq!(gguf.tensor("token_embd.weight").expect("there").ty, Type::Q8_0);
    assert_eq!(gguf.tensor("output.weight"), None);
}

#[test]
fn weights_have_the_size_that_keeps_activations_where_they_are() {
    let gguf = open(&Synthetic::small(Family::Llama, Types::all(Type::F32), 7));
    let moments = |name: &str| {
        let tensor = gguf.tensor(name).expect("there");
        let mut values = vec![0.0; tensor.values()];
        dequantize(tensor.ty, &gguf.read(tensor).expect("data"), &mut values).expect("F32");
        let len = values.len() as f32;
        let mean = values.iter().sum::<f32>() / len;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / len).sqrt())
    };
    for (name, mean, deviation) in [
        ("blk.0.attn_q.weight", 0.0, 1.0 / 16.0),
        ("blk.1.ffn_down.weight", 0.0, 0.5 / 512.0_f32.sqrt()),
        ("output.weight", 0.0, 3.0 / 16.0),
        ("output_norm.weight", 1.0, 0.1),
    ] {
        let found = moments(name);
        assert!((found.0 - mean).abs() < 0.02, "{name}: {found:?}");
        assert!((found.1 / deviation - 1.0).abs() < 0.1, "{name}: {found:?}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let small = Synthetic::small(Family::Llama, Types::all(Type::F16), 7);
    for (model, text) in [
        (Synthetic { layers: 0, ..small.clone() }, "a size is 0"),
        (Synthetic { heads: 3, ..small.clone() }, "3 heads do not divide 256 into even parts"),
        (Synthetic { kv_heads: 3, ..small.clone() }, "3 key heads do not divide 8 heads"),
        (Synthetic { vocab: 100, ..small }, "a vocabulary of 100; at least 264 are needed"),
    ] {
        assert_eq!(model.to_bytes().expect_err("refused").to_string(), text);
    }
}
