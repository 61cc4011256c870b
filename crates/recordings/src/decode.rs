use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

/// Rates that recordings of speech have. Below there is no telephone, above no use.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// A recording is read to so many hours: a header that lies must not keep a machine busy.
pub const HOURS_MAX: u32 = 24;

/// Why a file is not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is no WAV and no MP3.
    #[error("it is neither WAV nor MP3")]
    Unknown,
    /// Its kind of sound is not read.
    #[error("its encoding is not read: {0}")]
    Unsupported(String),
    /// One channel: nobody can tell the caller from the agent.
    #[error("it is mono: caller and agent cannot be told apart")]
    Mono,
    /// More than two channels.
    #[error("it has {0} channels: one for the caller and one for the agent are needed")]
    Channels(usize),
    /// A rate that no recording has.
    #[error("its sample rate of {0} Hz is not between {from} and {to} Hz", from = RATES.start(), to = RATES.end())]
    Rate(u32),
    /// It has a header and no sound.
    #[error("there is no sound in it")]
    Silent,
    /// Its data are no sound of the kind that the header names.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The rate or the channels change on the way.
    #[error("its format changes on the way, after {0:.1} s")]
    Changes(f64),
    /// Longer than any call.
    #[error("it is longer than {HOURS_MAX} hours")]
    TooLong,
}

impl DecodeError {
    /// Whether the file is sound and readable, only not one that this is about.
    pub const fn is_skip(&self) -> bool {
        matches!(self, Self::Mono | Self::Channels(_))
    }
}

/// A piece of both channels, as long on the one as on the other.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The first channel, full scale at -1 and 1.
    pub left: &'a [f32],
    /// The second one.
    pub right: &'a [f32],
}

/// Reads a recording piece by piece.
pub struct Decoder {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    /// Samples of one channel that the header promises.
    promised: Option<u64>,
    seen: u64,
    /// Pieces that could not be decoded, and are silence.
    damaged: u64,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// Opens a file; its extension says nothing, its content does.
    pub fn open(path: &Path) -> Result<Self, DecodeError> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(DecodeError::Empty);
        }
        Self::new(Box::new(file))
    }

    /// Reads from anything.
    pub fn new(source: Box<dyn MediaSource>) -> Result<Self, DecodeError> {
        caught(|| Self::begin(source))
    }

    fn begin(source: Box<dyn MediaSource>) -> Result<Self, DecodeError> {
        let stream = MediaSourceStream::new(source, Default::default());
        let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
        let probe = symphonia::default::get_probe();
        let format = probe.probe(&Hint::new(), stream, format, metadata).map_err(unknown)?;
        let track = format.default_track(TrackType::Audio).ok_or(DecodeError::Silent)?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let params = params.ok_or(DecodeError::Silent)?;
        if let Some(channels) = &params.channels {
            channels_of(channels.count())?;
        }
        let rate = params.sample_rate.ok_or(DecodeError::Rate(0))?;
        if !RATES.contains(&rate) {
            return Err(DecodeError::Rate(rate));
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .map_err(|error| DecodeError::Unsupported(error.to_string()))?;
        let (track, promised) = (track.id, track.num_frames);
        let planes = Vec::new();
        Ok(Self { format, decoder, track, rate, promised, seen: 0, damaged: 0, planes })
    }

    /// Samples of one channel in a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Seconds that were read.
    pub fn read_s(&self) -> f64 {
        self.seen as f64 / f64::from(self.rate)
    }

    /// Whether the file ended before its header says. Known at the end.
    pub fn is_truncated(&self) -> bool {
        self.promised.is_some_and(|promised| self.seen < promised)
    }

    /// Pieces that could not be decoded. They count as silence, so that the time after them is
    /// right.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next piece of both channels; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, DecodeError> {
        if !caught(|| self.fill())? {
            return Ok(None);
        }
        match self.planes.as_mut_slice() {
            [left, right] => {
                tame(left);
                tame(right);
                Ok(Some(Piece { left, right }))
            }
            planes => Err(channels_of(planes.len()).err().unwrap_or(DecodeError::Silent)),
        }
    }

    /// Decodes until there is something; whether there is.
    fn fill(&mut self) -> Result<bool, DecodeError> {
        loop {
            if self.seen > u64::from(HOURS_MAX) * 3600 * u64::from(self.rate) {
                return Err(DecodeError::TooLong);
            }
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                Ok(None) => return self.end(),
                // The end of a file that was cut off.
                Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.end();
                }
                Err(Error::IoError(error)) => return Err(error.into()),
                // What is before it is good.
                Err(_) => {
                    self.damaged += 1;
                    return self.end();
                }
            };
            let silence = usize::try_from(packet.dur.get()).unwrap_or(0).min(self.rate as usize);
            match self.decoder.decode(&packet) {
                Ok(sound) => {
                    let at = self.seen as f64 / f64::from(self.rate);
                    same_format(&sound, self.rate, at)?;
                    sound.copy_to_vecs_planar(&mut self.planes);
                }
                Err(Error::IoError(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(error.into());
                }
                Err(_) => {
                    self.damaged += 1;
                    self.planes.clear();
                    self.planes.resize(2, vec![0.0; silence]);
                }
            }
            let length = self.planes.first().map_or(0, Vec::len);
            if length > 0 {
                self.seen += length as u64;
                return Ok(true);
            }
        }
    }

    fn end(&self) -> Result<bool, DecodeError> {
        if self.seen > 0 {
            return Ok(false);
        }
        Err(match self.damaged {
            0 => DecodeError::Silent,
            _ => DecodeError::Damaged("nothing in it can be decoded".to_owned()),
        })
    }
}

/// A decoder that loses its footing on a bad file costs this file, not the run. Nobody goes on with
/// what it leaves behind: every error ends the reading.
fn caught<T>(decode: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    std::panic::catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(DecodeError::Damaged("its decoder gave up".to_owned())))
}

/// Floating-point files may hold anything; sound is finite, and not a thousand times too loud.
fn tame(samples: &mut [f32]) {
    for sample in samples {
        *sample = if sample.is_finite() { sample.clamp(-1e3, 1e3) } else { 0.0 };
    }
}

fn channels_of(count: usize) -> Result<(), DecodeError> {
    match count {
        2 => Ok(()),
        1 => Err(DecodeError::Mono),
        count => Err(DecodeError::Channels(count)),
    }
}

fn same_format(sound: &GenericAudioBufferRef<'_>, rate: u32, at: f64) -> Result<(), DecodeError> {
    let spec = sound.spec();
    if at == 0.0 {
        channels_of(spec.channels().count())?;
    }
    if spec.rate() == rate && spec.channels().count() == 2 {
        Ok(())
    } else {
        Err(DecodeError::Changes(at))
    }
}

/// Why the probe knows no format.
fn unknown(error: Error) -> DecodeError {
    match error {
        Error::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => error.into(),
        Error::DecodeError(why) => DecodeError::Damaged(why.to_owned()),
        // What it says itself is about the file; what is said about it is about the probe.
        Error::Unsupported(why) if why.starts_with("wav") => {
            DecodeError::Unsupported(why.to_owned())
        }
        _ => DecodeError::Unknown,
    }
}
