use super::{RATE, trim};

/// What an utterance is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipKind {
    /// The first thing that a callee says.
    Answer,
    /// Any sentence.
    Phrase,
    /// What somebody says who interrupts.
    Stop,
    /// "Uh huh": heard, and no turn.
    Backchannel,
}

/// One utterance, trimmed to its edges, with a level of its own.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Who speaks.
    pub voice: String,
    /// What it is used for.
    pub kind: ClipKind,
    /// The samples, 8,000 a second.
    pub samples: Vec<f32>,
}

/// The utterances that calls are made of.
#[derive(Clone, Debug)]
pub struct Bank {
    clips: Vec<Clip>,
    voices: Vec<String>,
}

const INDEX: &str = include_str!("../../assets/utterances/index.csv");
const VOICES: [(&str, &[u8]); 4] = [
    ("awb", include_bytes!("../../assets/utterances/awb.wav")),
    ("kal16", include_bytes!("../../assets/utterances/kal16.wav")),
    ("rms", include_bytes!("../../assets/utterances/rms.wav")),
    ("slt", include_bytes!("../../assets/utterances/slt.wav")),
];

impl Bank {
    /// The utterances that come with this crate: four voices of a synthesiser.
    pub fn built_in() -> Self {
        Self::new(INDEX.lines().skip(1).filter_map(built_in_clip))
    }

    /// Of these; clips without sound are left out. Calls need a phrase of at least one voice;
    /// of what a voice lacks, its phrases take the place.
    pub fn new(clips: impl IntoIterator<Item = Clip>) -> Self {
        let clips: Vec<Clip> = clips.into_iter().filter(|clip| !clip.samples.is_empty()).collect();
        let mut voices: Vec<String> = clips.iter().map(|clip| clip.voice.clone()).collect();
        voices.sort();
        voices.dedup();
        Self { clips, voices }
    }

    /// Who speaks in it, sorted.
    pub fn voices(&self) -> &[String] {
        &self.voices
    }

    /// Utterances of a voice, of this kind or else phrases.
    pub(super) fn of(&self, voice: &str, kind: ClipKind) -> Vec<&Clip> {
        let of = |kind| -> Vec<&Clip> {
            self.clips.iter().filter(|clip| clip.voice == voice && clip.kind == kind).collect()
        };
        let own = of(kind);
        if own.is_empty() { of(ClipKind::Phrase) } else { own }
    }

    /// Whether a voice has utterances of this kind.
    pub(super) fn has(&self, voice: &str, kind: ClipKind) -> bool {
        self.clips.iter().any(|clip| clip.voice == voice && clip.kind == kind)
    }
}

/// The utterance of a line of the index.
fn built_in_clip(line: &str) -> Option<Clip> {
    let mut fields = line.splitn(5, ',');
    let voice = fields.next()?;
    let kind = match fields.next()? {
        "answer" => ClipKind::Answer,
        "phrase" => ClipKind::Phrase,
        "stop" => ClipKind::Stop,
        _ => ClipKind::Backchannel,
    };
    let start: usize = fields.next()?.parse().ok()?;
    let samples: usize = fields.next()?.parse().ok()?;
    let (_, wav) = VOICES.iter().find(|(name, _)| *name == voice)?;
    let said = super::from_mono_wav(wav)?;
    let samples = trim(said.get(start..start + samples)?, RATE);
    Some(Clip { voice: voice.to_owned(), kind, samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_index_is_an_utterance() {
        let bank = Bank::built_in();
        assert_eq!(bank.clips.len(), INDEX.lines().count() - 1);
        assert_eq!(bank.voices(), ["awb", "kal16", "rms", "slt"]);
        for clip in &bank.clips {
            let seconds = clip.samples.len() as f64 / f64::from(RATE);
            let expected = if clip.kind == ClipKind::Backchannel { 0.2..0.7 } else { 0.3..4.0 };
            assert!(expected.contains(&seconds), "{} {:?}: {seconds} s", clip.voice, clip.kind);
        }
    }
}
