//! The number formats, against values that the Python package `gguf` made of the same bytes.

use dialtone_inference::gguf::Type;
use dialtone_inference::quant::{Error, dequantize, quantize};
use serde::Deserialize;

/// Random blocks with finite scales, and the bits of the f32 values that they stand for.
#[derive(Deserialize)]
struct Golden {
    r#type: String,
    bytes: String,
    values: String,
}

fn hex(text: &str, digits: usize) -> Vec<u32> {
    let parts = (0..text.len()).step_by(digits).map(|at| &text[at..at + digits]);
    parts.map(|part| u32::from_str_radix(part, 16).expect("hex")).collect()
}

fn type_of(name: &str) -> Type {
    *Type::ALL.iter().find(|ty| ty.name() == name).expect("a known type")
}

#[test]
fn stored_bytes_stand_for_the_values_that_ggml_gives_them() {
    let goldens: Vec<Golden> =
        serde_json::from_str(include_str!("golden/quant.json")).expect("goldens");
    assert_eq!(goldens.len(), 12);
    for golden in goldens {
        let ty = type_of(&golden.r#type);
        let bytes: Vec<u8> = hex(&golden.bytes, 2).iter().map(|&byte| byte as u8).collect();
        let expected = hex(&golden.values, 8);
        let mut values = vec![0.0; expected.len()];
        dequantize(ty, &bytes, &mut values).expect("supported");
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, expected, "{ty}");
    }
}

/// Values as weights have them: most small, some large, in both directions.
fn weights() -> Vec<f32> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..1024).map(|_| (next() + next() + next()) * 0.1).collect()
}

#[test]
fn what_is_written_reads_back_within_the_steps_of_the_format() {
    let weights = weights();
    let scale = (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
    for (ty, bound) in [
        (Type::F32, 0.0),
        (Type::F16, 0.000_5),
        (Type::Bf16, 0.004),
        (Type::Q4_0, 0.1),
        (Type::Q4_1, 0.1),
        (Type::Q5_0, 0.05),
        (Type::Q5_1, 0.05),
        (Type::Q8_0, 0.007),
        (Type::Q4K, 0.1),
        (Type::Q5K, 0.05),
        (Type::Q6K, 0.025),
    ] {
        assert!(ty.runs(), "{ty}");
        let bytes = quantize(ty, &weights).expect("supported");
        let mut back = vec![0.0; weights.len()];
        dequantize(ty, &bytes, &mut back).expect("supported");
        let square = weights.iter().zip(&back).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let error = (square / weights.len() as f32).sqrt() / scale;
        assert!(error <= bound, "{ty}: {error} of the size of the weights");
        let zeros = quantize(ty, &vec![0.0; 256]).expect("supported");
        let mut back = vec![1.0; 256];
        dequantize(ty, &zeros, &mut back).expect("supported");
        assert!(back.iter().all(|&value| value == 0.0), "{ty} of zeros");
    }
}

#[test]
fn what_is_not_supported_or_does_not_fit_is_refused() {
    let mut out = [0.0; 32];
    assert_eq!(dequantize(Type::Iq4Nl, &[0; 18], &mut out), Err(Error::Unsupported(Type::Iq4Nl)),);
    assert_eq!(quantize(Type::Q2K, &[0.0; 256]), Err(Error::Unsupported(Type::Q2K)));
    for bytes in [0, 19, 21, 40] {
        let size = Error::Size { ty: Type::Q4_1, values: 32, bytes };
        assert_eq!(dequantize(Type::Q4_1, &vec![0; bytes], &mut out), Err(size));
    }
    assert!(matches!(quantize(Type::Q4_1, &[0.0; 31]), Err(Error::Size { .. })));
}
