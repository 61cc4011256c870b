use std::io::Cursor;
use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_recordings::truth::{Bank, Call, TrueTurn, to_wav};
use dialtone_recordings::{Analyzer, DecodeError, Decoder, Findings, Options, Warning};

use super::source::{Recording, Sound};

/// What came of one recording.
#[derive(Debug)]
pub struct Heard {
    pub findings: Findings,
    /// What is true, of a call that was made.
    pub truth: Option<Vec<TrueTurn>>,
    pub took: Duration,
}

/// Reads a recording and listens to it.
pub fn listen(recording: &Recording, options: &Options) -> Result<Heard, Failure> {
    let began = Instant::now();
    let (decoder, truth) = match &recording.sound {
        Sound::File(path) => (Decoder::open(path), None),
        Sound::Made { seed, condition } => {
            let call = Call::make(*seed, *condition, &Bank::built_in());
            (Decoder::new(Box::new(Cursor::new(to_wav(&call.audio)))), Some(call.turns))
        }
    };
    let findings = decoder.and_then(|decoder| findings(decoder, options));
    let findings = findings.map_err(|error| failure(&error))?;
    if findings.warnings.contains(&Warning::Mono) {
        let text = "both channels carry the same: caller and agent cannot be told apart";
        return Err(Failure::new(ErrorCode::AudioMono, text));
    }
    Ok(Heard { findings, truth, took: began.elapsed() })
}

fn findings(mut decoder: Decoder, options: &Options) -> Result<Findings, DecodeError> {
    let mut analyzer = Analyzer::new(decoder.rate(), options);
    while let Some(piece) = decoder.next_piece()? {
        analyzer.push(piece.left, piece.right);
    }
    let mut findings = analyzer.finish();
    if decoder.is_truncated() {
        findings.warnings.push(Warning::Truncated);
    }
    if decoder.damaged() > 0 {
        findings.warnings.push(Warning::Damaged { pieces: decoder.damaged() });
    }
    Ok(findings)
}

/// Why a recording is not in the result.
fn failure(error: &DecodeError) -> Failure {
    let code = match error {
        DecodeError::Mono => ErrorCode::AudioMono,
        DecodeError::Channels(_) => ErrorCode::AudioChannels,
        _ => ErrorCode::AudioUnreadable,
    };
    Failure::new(code, error.to_string())
}
