use std::fs;
use std::path::Path;

use dialtone_recordings::truth::{Bank, Clip, ClipKind, RATE, from_mono_wav, trim};

/// Prompts shorter or longer than this are no phrases of a conversation, in seconds.
const LENGTH_S: std::ops::RangeInclusive<f64> = 1.1..=4.0;
/// Phrases of a voice at most: there are hundreds.
const PHRASES: usize = 60;
/// A prompt with a pause longer than this says two things, in seconds.
const PAUSE_S: f64 = 0.6;

/// The voices of a folder with a folder of prompts for each; why there are none.
pub fn bank(sounds: &Path) -> Result<Bank, String> {
    let none = |why: &dyn std::fmt::Display| {
        format!(
            "no prompts spoken by people: {}: {why} (Debian: asterisk-core-sounds-en-wav)",
            sounds.display()
        )
    };
    let mut folders: Vec<_> = fs::read_dir(sounds)
        .map_err(|error| none(&error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        // Links name the same voices again.
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    folders.sort();
    let bank = Bank::new(folders.iter().flat_map(|folder| voice(folder)));
    if bank.voices().is_empty() {
        return Err(none(&"none of its folders has WAV files of 8 kHz"));
    }
    Ok(bank)
}

fn voice(folder: &Path) -> Vec<Clip> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let clip = |path: &std::path::PathBuf| {
        let samples = trim(&from_mono_wav(&fs::read(path).ok()?)?, RATE);
        let length_s = samples.len() as f64 / f64::from(RATE);
        let fits = LENGTH_S.contains(&length_s) && !pauses(&samples);
        fits.then(|| Clip { voice: name.clone(), kind: ClipKind::Phrase, samples })
    };
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
        .filter_map(clip)
        .take(PHRASES)
        .collect()
}

/// Whether a prompt is silent for long: 35 dB below its peaks.
fn pauses(samples: &[f32]) -> bool {
    let peak = samples.iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
    let longest = samples
        .split(|sample| sample.abs() > peak * 0.018)
        .map(<[f32]>::len)
        .max()
        .unwrap_or_default();
    longest as f64 > PAUSE_S * f64::from(RATE)
}
