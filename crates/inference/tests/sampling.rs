//! The sampler against the plainest way to say the same: everything sorted, in f64.

use dialtone_inference::Token;
use dialtone_inference::sampling::{NotFinite, Sampler, Sampling};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// Decisions nearer than this to their bound may fall either way.
const CLEAR: f64 = 1e-5;

/// The token that must be drawn; `None` if a decision is too close to call.
fn naive(logits: &[f32], past: &[Token], sampling: &Sampling, place: f64) -> Option<Token> {
    let mut logits: Vec<f32> = logits.to_vec();
    let recent = &past[past.len().saturating_sub(sampling.repeat_last)..];
    for (token, logit) in logits.iter_mut().enumerate() {
        if recent.contains(&(token as Token)) {
            let penalty = sampling.repeat_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    let mut kept: Vec<(f64, Token)> =
        logits.iter().enumerate().map(|(t, l)| (f64::from(*l), t as Token)).collect();
    kept.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let max = kept[0].0;
    if sampling.temperature == 0.0 {
        return Some(kept[0].1);
    }
    if sampling.top_k > 0 {
        kept.truncate(sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        let whole: f64 = kept.iter().map(|(logit, _)| (logit - max).exp()).sum();
        let mut sum = 0.0;
        let mut last = kept.len();
        for (at, (logit, _)) in kept.iter().enumerate() {
            sum += (logit - max).exp() / whole;
            if (sum - f64::from(sampling.top_p)).abs() < CLEAR {
                return None;
            }
            if sum >= f64::from(sampling.top_p) {
                last = at + 1;
                break;
            }
        }
        kept.truncate(last);
    }
    if sampling.min_p > 0.0 {
        let ratio = |logit: f64| (logit - max).exp() / f64::from(sampling.min_p);
        if kept[1..].iter().any(|(logit, _)| (ratio(*logit) - 1.0).abs() < CLEAR) {
            return None;
        }
        kept.retain(|(logit, _)| ratio(*logit) >= 1.0 || *logit == max);
    }
    kept.sort_by_key(|(_, token)| *token);
    let heat = f64::from(sampling.temperature);
    let weights: Vec<f64> = kept.iter().map(|(logit, _)| ((logit - max) / heat).exp()).collect();
    let whole: f64 = weights.iter().sum();
    let mut sum = 0.0;
    for (weight, (_, token)) in weights.iter().zip(&kept) {
        sum += weight / whole;
        if (sum - place).abs() < CLEAR {
            return None;
        }
        if sum > place {
            return Some(*token);
        }
    }
    None
}

fn settings() -> impl Strategy<Value = Sampling> {
    let temperature = prop_oneof![Just(0.0_f32), 0.01_f32..2.0];
    let top_k = prop_oneof![Just(0_usize), 1_usize..12, 1_usize..600];
    let top_p = prop_oneof![Just(1.0_f32), 0.01_f32..1.0];
    let min_p = prop_oneof![Just(0.0_f32), 0.0_f32..1.0];
    let repeat = (prop_oneof![Just(1.0_f32), 0.5_f32..2.0], 0_usize..20);
    (temperature, top_k, top_p, min_p, repeat, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, (repeat_penalty, repeat_last), seed)| Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            repeat_last,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn it_draws_what_the_plain_way_draws(
        // Few different values, so that there are ties.
        logits in prop::collection::vec((-40_i32..40).prop_map(|v| v as f32 / 4.0), 1..500),
        past in prop::collection::vec(0_u32..500, 0..40),
        sampling in settings(),
    ) {
        prop_assert_eq!(sampling.validate(), Ok(()));
        let mut sampler = Sampler::new(sampling.clone());
        let mut random = ChaCha8Rng::seed_from_u64(sampling.seed);
        for _ in 0..4 {
            let got = sampler.pick(&mut logits.clone(), &past).expect("finite");
            let place = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            if let Some(wanted) = naive(&logits, &past, &sampling, place) {
                prop_assert_eq!(got, wanted);
            }
        }
    }
}

/// Logits like a model's: a few likely tokens among very many.
fn vocabulary(seed: u64, size: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut unit = || (random.next_u32() as f32 + 1.0) / (u32::MAX as f32 + 2.0);
    (0..size).map(|_| -3.0 * unit().ln() - 5.0 * unit()).collect()
}

#[test]
fn it_draws_the_same_from_a_large_vocabulary() {
    let mut decided = 0;
    for seed in 0..40 {
        let logits = vocabulary(seed, 50_000);
        let sampling = Sampling {
            temperature: 0.4 + seed as f32 / 40.0,
            top_k: [0, 0, 40, 1000][seed as usize % 4],
            top_p: [0.95, 0.999, 0.9, 1.0, 0.5][seed as usize % 5],
            min_p: [0.0, 0.05, 0.0][seed as usize % 3],
            seed,
            ..Sampling::default()
        };
        let got = Sampler::new(sampling.clone()).pick(&mut logits.clone(), &[]).expect("finite");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let place = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        if let Some(wanted) = naive(&logits, &[], &sampling, place) {
            assert_eq!(got, wanted, "{sampling:?}");
            decided += 1;
        }
    }
    assert!(decided > 20, "only {decided} were clear");
}

#[test]
fn draws_come_as_often_as_they_are_likely() {
    let logits = [0.0_f32, 2.0_f32.ln(), 5.0_f32.ln()];
    let mut sampler = Sampler::new(Sampling { temperature: 1.0, seed: 9, ..Sampling::default() });
    let mut counts = [0_u32; 3];
    for _ in 0..8000 {
        counts[sampler.pick(&mut logits.clone(), &[]).expect("finite") as usize] += 1;
    }
    for (count, wanted) in counts.iter().zip([1000.0_f64, 2000.0, 5000.0]) {
        // Five standard deviations.
        assert!((f64::from(*count) - wanted).abs() < 5.0 * wanted.sqrt(), "{counts:?}");
    }
}

#[test]
fn greedy_takes_the_lowest_id_of_equals() {
    let mut sampler = Sampler::new(Sampling::default());
    for size in [3, 16, 17, 40] {
        let mut logits = vec![-1.0_f32; size];
        logits[1] = 4.0;
        logits[size - 1] = 4.0;
        assert_eq!(sampler.pick(&mut logits, &[]), Ok(1), "{size}");
    }
}

#[test]
fn a_repeated_token_is_penalised_once_and_only_within_reach() {
    let sampling = Sampling { repeat_penalty: 2.0, repeat_last: 2, ..Sampling::default() };
    let mut sampler = Sampler::new(sampling);
    assert_eq!(sampler.pick(&mut [3.0, 4.0, 1.9], &[1]), Ok(0));
    // Twice in reach counts once, so that 4 becomes 2 and not 1.
    assert_eq!(sampler.pick(&mut [1.0, 4.0, 1.9], &[1, 1]), Ok(1));
    assert_eq!(sampler.pick(&mut [3.0, 4.0, 1.9], &[1, 7, 2]), Ok(1));
    assert_eq!(sampler.pick(&mut [-1.0, -1.5, -3.0], &[0]), Ok(1));
}

#[test]
fn what_is_no_number_is_not_chosen_from() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() });
            assert_eq!(sampler.pick(&mut [0.0, bad, 1.0], &[]), Err(NotFinite));
        }
    }
    assert_eq!(Sampler::new(Sampling::default()).pick(&mut [], &[]), Err(NotFinite));
}

#[test]
fn extreme_settings_still_choose() {
    let logits = [f32::MAX, f32::MIN, 0.0];
    for temperature in [f32::MIN_POSITIVE, 1e-45, 2.0] {
        let sampling = Sampling {
            temperature,
            top_k: usize::MAX,
            top_p: f32::MIN_POSITIVE,
            min_p: 1.0,
            repeat_penalty: 10.0,
            repeat_last: usize::MAX,
            seed: u64::MAX,
        };
        let past = [1, 1, 900];
        let mut sampler = Sampler::new(sampling.clone());
        assert_eq!(sampler.pick(&mut logits.clone(), &past), Ok(0), "{sampling:?}");
        let open = Sampling { top_p: 1.0, min_p: 0.0, ..sampling };
        assert_eq!(Sampler::new(open).pick(&mut logits.clone(), &past), Ok(0));
    }
}
