use half::{bf16, f16};

use super::{Error, scale_and_minimum};
use crate::gguf::Type;

/// `values` in the format `ty`, rounded to nearest: no search for better scales, so what comes out
/// suits tests, generated models and measurements of speed.
///
/// # Errors
/// If the type cannot be written, or `values` are not whole blocks.
pub fn quantize(ty: Type, values: &[f32]) -> Result<Vec<u8>, Error> {
    let block: fn(&[f32], &mut Vec<u8>) = match ty {
        Type::F32 => |values, out| out.extend(values[0].to_le_bytes()),
        Type::F16 => |values, out| out.extend(f16::from_f32(values[0]).to_le_bytes()),
        Type::Bf16 => |values, out| out.extend(bf16::from_f32(values[0]).to_le_bytes()),
        Type::Q4_0 => q4_0,
        Type::Q4_1 => q4_1,
        Type::Q5_0 => q5_0,
        Type::Q5_1 => q5_1,
        Type::Q8_0 => q8_0,
        Type::Q4K => q4_k,
        Type::Q5K => q5_k,
        Type::Q6K => q6_k,
        _ => return Err(Error::Unsupported(ty)),
    };
    let bytes = ty.bytes(values.len() as u64).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or(Error::Size { ty, values: values.len(), bytes: 0 })?;
    let mut out = Vec::with_capacity(bytes);
    values.chunks_exact(ty.block()).for_each(|values| block(values, &mut out));
    Ok(out)
}

/// Appends `value` as f16, and returns what it is then.
fn push_half(out: &mut Vec<u8>, value: f32) -> f32 {
    let value = f16::from_f32(value);
    out.extend(value.to_le_bytes());
    value.to_f32()
}

/// The value that is farthest from 0, with its sign.
fn farthest(values: &[f32]) -> f32 {
    values
        .iter()
        .copied()
        .fold(0.0, |most: f32, value| if value.abs() > most.abs() { value } else { most })
}

fn bounds(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)))
}

/// `value / scale`, rounded to nearest, within `0..=most`.
fn step(value: f32, scale: f32, most: u8) -> u8 {
    if scale == 0.0 { 0 } else { ((value / scale).round() as u8).min(most) }
}

/// Steps of `scale` above `low`, five bits as `quints` of the reader wants them, four likewise.
fn push_steps(out: &mut Vec<u8>, values: &[f32], scale: f32, low: f32, most: u8) {
    let steps: Vec<u8> = values.iter().map(|value| step(value - low, scale, most)).collect();
    if most > 15 {
        let fifth = |(i, step): (usize, &u8)| u32::from(step >> 4) << i;
        out.extend(steps.iter().enumerate().map(fifth).sum::<u32>().to_le_bytes());
    }
    let (first, last) = steps.split_at(16);
    out.extend(first.iter().zip(last).map(|(first, last)| first & 15 | last << 4));
}

/// The farthest value takes the end that reaches one step further: -8.
fn q4_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = push_half(out, farthest(values) / -8.0);
    push_steps(out, values, scale, -8.0 * scale, 15);
}

fn q4_1(values: &[f32], out: &mut Vec<u8>) {
    let (low, high) = bounds(values);
    let scale = push_half(out, (high - low) / 15.0);
    let low = push_half(out, low);
    push_steps(out, values, scale, low, 15);
}

fn q5_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = push_half(out, farthest(values) / -16.0);
    push_steps(out, values, scale, -16.0 * scale, 31);
}

fn q5_1(values: &[f32], out: &mut Vec<u8>) {
    let (low, high) = bounds(values);
    let scale = push_half(out, (high - low) / 31.0);
    let low = push_half(out, low);
    push_steps(out, values, scale, low, 31);
}

fn q8_0(values: &[f32], out: &mut Vec<u8>) {
    let scale = push_half(out, farthest(values).abs() / 127.0);
    out.extend(values.iter().map(|value| signed(*value, scale, 127)));
}

/// `value / scale`, rounded to nearest, within `-most..=most`, as the byte of an `i8`.
fn signed(value: f32, scale: f32, most: i8) -> u8 {
    let steps = if scale == 0.0 { 0 } else { (value / scale).round() as i8 };
    steps.clamp(-most, most).cast_unsigned()
}

/// Scales and minima of a block of eight sub-blocks, with steps up to `most`: appends the two f16
/// and the 12 packed bytes, and returns the steps of all values.
fn sub_blocks(values: &[f32], most: u8, out: &mut Vec<u8>) -> Vec<u8> {
    let bounds: Vec<_> = values
        .chunks_exact(32)
        .map(bounds)
        .map(|(low, high)| (low.min(0.0), high.max(0.0)))
        .collect();
    let scales = bounds.iter().map(|(low, high)| (high - low) / f32::from(most));
    let scale = push_half(out, scales.clone().fold(0.0, f32::max) / 63.0);
    let minimum =
        push_half(out, bounds.iter().fold(0.0, |most: f32, (low, _)| most.max(-low)) / 63.0);
    let mut packed = [0; 12];
    for (i, (wanted, (low, _))) in scales.zip(&bounds).enumerate() {
        let (factor, low) = (step(wanted, scale, 63), step(-low, minimum, 63));
        if i < 4 {
            packed[i] = factor;
            packed[i + 4] = low;
        } else {
            packed[i + 4] = factor & 15 | low << 4;
            packed[i - 4] |= factor >> 4 << 6;
            packed[i] |= low >> 4 << 6;
        }
    }
    out.extend(packed);
    let sub = |(i, values): (usize, &[f32])| {
        let (factor, low) = scale_and_minimum(&packed, i);
        let (scale, low) = (scale * f32::from(factor), minimum * f32::from(low));
        values.iter().map(|value| step(value + low, scale, most)).collect::<Vec<_>>()
    };
    values.chunks_exact(32).enumerate().flat_map(sub).collect()
}

/// Appends the lower four bits: two sub-blocks of 32 share 32 bytes.
fn push_pairs(out: &mut Vec<u8>, steps: &[u8]) {
    for pair in steps.chunks_exact(64) {
        let (first, last) = pair.split_at(32);
        out.extend(first.iter().zip(last).map(|(first, last)| first & 15 | last << 4));
    }
}

fn q4_k(values: &[f32], out: &mut Vec<u8>) {
    let steps = sub_blocks(values, 15, out);
    push_pairs(out, &steps);
}

fn q5_k(values: &[f32], out: &mut Vec<u8>) {
    let steps = sub_blocks(values, 31, out);
    let fifths = |at: usize| (0..8).map(|sub| (steps[32 * sub + at] >> 4) << sub).sum::<u8>();
    out.extend((0..32).map(fifths));
    push_pairs(out, &steps);
}

fn q6_k(values: &[f32], out: &mut Vec<u8>) {
    // The farthest value takes the end that reaches one step further: -32.
    let wanted: Vec<f32> = values.chunks_exact(16).map(|sub| farthest(sub) / -32.0).collect();
    let scale = f16::from_f32(farthest(&wanted).abs() / 127.0);
    let factors: Vec<u8> = wanted.iter().map(|sub| signed(*sub, scale.to_f32(), 127)).collect();
    let steps: Vec<u8> = values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let sub = scale.to_f32() * f32::from(factors[i / 16].cast_signed());
            step(value + 32.0 * sub, sub, 63)
        })
        .collect();
    for half in steps.chunks_exact(128) {
        out.extend((0..64).map(|at| half[at] & 15 | half[at + 64] << 4));
    }
    for half in steps.chunks_exact(128) {
        out.extend(
            (0..32).map(|at| {
                (0..4).map(|group| (half[at + 32 * group] >> 4) << (2 * group)).sum::<u8>()
            }),
        );
    }
    out.extend(factors);
    out.extend(scale.to_le_bytes());
}
