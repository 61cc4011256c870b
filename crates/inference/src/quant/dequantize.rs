use half::{bf16, f16};

use super::{Error, scale_and_minimum};
use crate::gguf::Type;

/// The values that `bytes` stand for.
///
/// # Errors
/// If the type is not supported, or `bytes` are not the blocks of `out.len()` values.
pub fn dequantize(ty: Type, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let block: fn(&[u8], &mut [f32]) = match ty {
        Type::F32 => {
            |bytes, out| out[0] = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        }
        Type::F16 => |bytes, out| out[0] = half(bytes),
        Type::Bf16 => |bytes, out| out[0] = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Type::Q4_0 => q4_0,
        Type::Q4_1 => q4_1,
        Type::Q5_0 => q5_0,
        Type::Q5_1 => q5_1,
        Type::Q8_0 => q8_0,
        Type::Q2K => q2_k,
        Type::Q3K => q3_k,
        Type::Q4K => q4_k,
        Type::Q5K => q5_k,
        Type::Q6K => q6_k,
        _ => return Err(Error::Unsupported(ty)),
    };
    if ty.bytes(out.len() as u64) != Some(bytes.len() as u64) {
        return Err(Error::Size { ty, values: out.len(), bytes: bytes.len() });
    }
    let blocks = bytes.chunks_exact(ty.block_bytes());
    blocks.zip(out.chunks_exact_mut(ty.block())).for_each(|(bytes, out)| block(bytes, out));
    Ok(())
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The low halves of the bytes are the first 16 values, the high halves the last.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// As [`nibbles`], with a fifth bit of each value from `high`.
fn quints(high: &[u8], low: &[u8]) -> impl Iterator<Item = u8> {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    nibbles(low).enumerate().map(move |(i, low)| low | ((high >> i & 1) as u8) << 4)
}

fn q4_0(bytes: &[u8], out: &mut [f32]) {
    let scale = half(bytes);
    for (out, value) in out.iter_mut().zip(nibbles(&bytes[2..])) {
        *out = (f32::from(value) - 8.0) * scale;
    }
}

fn q4_1(bytes: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(bytes), half(&bytes[2..]));
    for (out, value) in out.iter_mut().zip(nibbles(&bytes[4..])) {
        *out = f32::from(value) * scale + minimum;
    }
}

fn q5_0(bytes: &[u8], out: &mut [f32]) {
    let scale = half(bytes);
    for (out, value) in out.iter_mut().zip(quints(&bytes[2..6], &bytes[6..])) {
        *out = (f32::from(value) - 16.0) * scale;
    }
}

fn q5_1(bytes: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half(bytes), half(&bytes[2..]));
    for (out, value) in out.iter_mut().zip(quints(&bytes[4..8], &bytes[8..])) {
        *out = f32::from(value) * scale + minimum;
    }
}

fn q8_0(bytes: &[u8], out: &mut [f32]) {
    let scale = half(bytes);
    for (out, value) in out.iter_mut().zip(&bytes[2..]) {
        *out = f32::from(value.cast_signed()) * scale;
    }
}

/// 16 sub-blocks of 16 values of 2 bits, each with a scale and a minimum of 4 bits. The values
/// of a half (128) share 32 bytes, two bits of each byte per 32 values.
fn q2_k(bytes: &[u8], out: &mut [f32]) {
    let (scales, values, tail) = (&bytes[..16], &bytes[16..80], &bytes[80..]);
    let (scale, minimum) = (half(tail), half(&tail[2..]));
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let (half, group, part) = (sub / 8, sub / 2 % 4, sub % 2);
        let low = scale * f32::from(scales[sub] & 15);
        let minimum = minimum * f32::from(scales[sub] >> 4);
        let start = half * 32 + part * 16;
        for (out, byte) in out.iter_mut().zip(&values[start..start + 16]) {
            *out = low * f32::from(byte >> (2 * group) & 3) - minimum;
        }
    }
}

/// 16 sub-blocks of 16 values of 3 bits, each with a scale of 6 bits. The lower two bits lie as
/// in [`q2_k`]; a third one that is not set stands for -4.
fn q3_k(bytes: &[u8], out: &mut [f32]) {
    let (masks, values, scales) = (&bytes[..32], &bytes[32..96], &bytes[96..108]);
    let scale = half(&bytes[108..]);
    for (sub, out) in out.chunks_exact_mut(16).enumerate() {
        let (half, group, part) = (sub / 8, sub / 2 % 4, sub % 2);
        let low = scales[sub % 8] >> (4 * (sub / 8)) & 15;
        let high = scales[8 + sub % 4] >> (2 * (sub / 4)) & 3;
        let scale = scale * (f32::from(low | high << 4) - 32.0);
        let start = half * 32 + part * 16;
        let bytes = values[start..start + 16].iter().zip(&masks[part * 16..]);
        for (out, (byte, mask)) in out.iter_mut().zip(bytes) {
            let third = if mask >> (half * 4 + group) & 1 == 1 { 0.0 } else { 4.0 };
            *out = scale * (f32::from(byte >> (2 * group) & 3) - third);
        }
    }
}

/// 8 sub-blocks of 32 values of 4 bits, each with a scale and a minimum of 6 bits. Two sub-blocks
/// share 32 bytes.
fn q4_k(bytes: &[u8], out: &mut [f32]) {
    let (scale, minimum, packed) = (half(bytes), half(&bytes[2..]), &bytes[4..16]);
    let pairs = bytes[16..].chunks_exact(32).zip(out.chunks_exact_mut(64));
    for (pair, (bytes, out)) in pairs.enumerate() {
        for (part, out) in out.chunks_exact_mut(32).enumerate() {
            let (factor, low) = scale_and_minimum(packed, 2 * pair + part);
            let (scale, minimum) = (scale * f32::from(factor), minimum * f32::from(low));
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = scale * f32::from(byte >> (4 * part) & 15) - minimum;
            }
        }
    }
}

/// As [`q4_k`], with a fifth bit of each value: bit `i` of 32 bytes is that of sub-block `i`.
fn q5_k(bytes: &[u8], out: &mut [f32]) {
    let (scale, minimum, packed) = (half(bytes), half(&bytes[2..]), &bytes[4..16]);
    let fifths = &bytes[16..48];
    let pairs = bytes[48..].chunks_exact(32).zip(out.chunks_exact_mut(64));
    for (pair, (bytes, out)) in pairs.enumerate() {
        for (part, out) in out.chunks_exact_mut(32).enumerate() {
            let sub = 2 * pair + part;
            let (factor, low) = scale_and_minimum(packed, sub);
            let (scale, minimum) = (scale * f32::from(factor), minimum * f32::from(low));
            for (out, (byte, fifth)) in out.iter_mut().zip(bytes.iter().zip(fifths)) {
                let value = byte >> (4 * part) & 15 | (fifth >> sub & 1) << 4;
                *out = scale * f32::from(value) - minimum;
            }
        }
    }
}

/// 16 sub-blocks of 16 values of 6 bits, each with a signed scale of 8 bits. Of each half (128
/// values), 64 bytes hold the lower four bits (values 0..64 low, 64..128 high) and 32 bytes the
/// upper two, two bits of each byte per 32 values.
fn q6_k(bytes: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&bytes[..128], &bytes[128..192], &bytes[192..208]);
    let scale = half(&bytes[208..]);
    for (i, out) in out.iter_mut().enumerate() {
        let (half, at) = (i / 128, i % 128);
        let low = low[half * 64 + at % 64] >> (4 * (at / 64)) & 15;
        let high = high[half * 32 + at % 32] >> (2 * (at / 32)) & 3;
        let factor = f32::from(scales[i / 16].cast_signed());
        *out = scale * factor * (f32::from(low | high << 4) - 32.0);
    }
}
