use std::borrow::Cow;
use std::path::Path;

use super::error::quoted;
use super::parse::Parser;
use super::source::Source;
use super::{Error, Metadata, Type};

const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensor data may begin, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
/// More than any use of it; a larger one would let a small file claim much.
const ALIGNMENT_MAX: u64 = 64 * 1024;
/// The largest models have some thousands of tensors and some hundred keys.
const COUNT_MAX: u64 = 65_536;
/// Bytes of a key, by the format.
const KEY_MAX: u64 = 65_535;
/// Bytes of a tensor's name. The format says 64; some converters write longer ones.
const NAME_MAX: u64 = 1024;
/// The bytes of the shortest entry of the metadata: an empty key, a type, one byte.
const ENTRY_MIN: u64 = 13;
/// The bytes of the shortest entry of the tensor table: an empty name, no dimensions, type, place.
const TENSOR_MIN: u64 = 24;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name: `blk.0.attn_q.weight`.
    pub name: Box<str>,
    /// How its values are stored.
    pub ty: Type,
    /// Its size, the dimension whose values lie side by side first (ggml's `ne`); 1 where it has
    /// fewer than four. A matrix that maps `n` inputs to `m` outputs is `[n, m, 1, 1]`.
    pub dims: [usize; 4],
    /// Where its data begin in the file.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

impl TensorInfo {
    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.dims[0]
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.dims[1..].iter().product()
    }

    /// Values in all.
    pub fn values(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.columns() / self.ty.block() * self.ty.block_bytes()
    }
}

/// An open model file. Threads may read it at once.
#[derive(Debug)]
pub struct Gguf {
    source: Source,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    // Indices into `tensors`, by name.
    by_name: Vec<u32>,
}

impl Gguf {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// If it cannot be read, is no GGUF file, or is damaged or cut short, its tensors included.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::new(Source::open(path)?)
    }

    /// Reads the header of a file in memory.
    ///
    /// # Errors
    /// If it is no GGUF file, or damaged or cut short.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, Error> {
        Self::new(Source::Bytes(bytes.into()))
    }

    fn new(source: Source) -> Result<Self, Error> {
        let mut parser = Parser::new(&source);
        let version = version(&mut parser, &source)?;
        let at = parser.at();
        let tensors = parser.u64("the number of tensors")?;
        let entries = parser.u64("the number of metadata entries")?;
        let tensors = count(&parser, tensors, TENSOR_MIN, "tensors", at)?;
        let entries = count(&parser, entries, ENTRY_MIN, "metadata entries", at + 8)?;
        let metadata = metadata(&mut parser, entries)?;
        let mut tensors = tensor_table(&mut parser, tensors)?;
        let start = data_start(&parser, &metadata, &mut tensors)?;
        check_data(&tensors, start, source.len())?;
        let by_name = by_name(&tensors)?;
        whole(&metadata)?;
        Ok(Self { source, version, metadata, tensors, by_name })
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether the file has no bytes: never, for one that was opened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file says of its model.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let info = |index: u32| &self.tensors[index as usize];
        let at = self.by_name.binary_search_by(|&index| (*info(index).name).cmp(name)).ok()?;
        Some(info(self.by_name[at]))
    }

    /// The data of a tensor of this file.
    ///
    /// # Errors
    /// If the file cannot be read, or has shrunk since it was opened.
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        let bytes = usize::try_from(tensor.bytes).ok().filter(|_| tensor.bytes <= self.len());
        let bytes = bytes.ok_or_else(|| outside(tensor, 0, tensor.bytes))?;
        let mut data = vec![0; bytes];
        self.read_into(tensor, 0, &mut data)?;
        Ok(data)
    }

    /// Fills `out` with the data of a tensor of this file from its byte `from` on, so that a large
    /// one can be read in pieces.
    ///
    /// # Errors
    /// If the piece is not within the tensor, the file cannot be read, or has shrunk since it was
    /// opened.
    pub fn read_into(&self, tensor: &TensorInfo, from: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = from.checked_add(out.len() as u64).filter(|&end| end <= tensor.bytes);
        let offset = end.and_then(|_| tensor.offset.checked_add(from));
        let offset = offset.ok_or_else(|| outside(tensor, from, out.len() as u64))?;
        self.source.read(offset, out, &format!("tensor {}", quoted(&tensor.name)))
    }
}

fn outside(tensor: &TensorInfo, from: u64, len: u64) -> Error {
    let what = format!("{len} bytes from byte {from} were asked for, it has {}", tensor.bytes);
    Error::Tensor { name: tensor.name.to_string(), what }
}

/// Reads magic and version.
fn version(parser: &mut Parser<'_>, source: &Source) -> Result<u32, Error> {
    let mut start = [0; 16];
    let known = usize::try_from(source.len()).map_or(start.len(), |len| len.min(start.len()));
    source.read(0, &mut start[..known], "the header")?;
    if !start[..known].starts_with(&MAGIC) {
        return Err(Error::NotGguf(other_kind(&start[..known])));
    }
    parser.u32("the magic")?;
    match parser.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        1 => Err(Error::Unsupported(
            "GGUF version 1 is not read; convert the model again with a current llama.cpp".into(),
        )),
        version if matches!(version.swap_bytes(), 1..=0xffff) => Err(Error::Unsupported(
            "big-endian GGUF is not read; convert the model to little endian".into(),
        )),
        version => Err(Error::Unsupported(format!(
            "GGUF version {version} is not known; versions 2 and 3 are read"
        ))),
    }
}

/// A count that stands at `at`, of things that take `least` bytes each.
fn count(parser: &Parser<'_>, count: u64, least: u64, what: &str, at: u64) -> Result<usize, Error> {
    if count > COUNT_MAX {
        return Err(parser.damaged(at, format!("{count} {what}; at most {COUNT_MAX} are read")));
    }
    parser.fits(count, least, what, "")
}

/// What a file is that is not GGUF, by its first bytes.
fn other_kind(start: &[u8]) -> String {
    let text = String::from_utf8_lossy(start).to_lowercase();
    match start {
        [] => "the file is empty".into(),
        [b'P', b'K', 3, 4, ..] => "it is a zip archive (a wheel?); the model is inside".into(),
        [0x1f, 0x8b, ..] => "it is compressed by gzip".into(),
        [b'l' | b'f', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] => {
            "it is an old ggml file; convert the model to GGUF".into()
        }
        [_, _, _, _, _, _, _, _, b'{', ..] => {
            "it looks like safetensors; convert the model to GGUF".into()
        }
        _ if text.starts_with("version https:") => {
            "it is a Git LFS pointer; fetch the model itself with `git lfs pull`".into()
        }
        _ if text.trim_start().starts_with('<') => {
            "it is a web page; the download went to the wrong address".into()
        }
        _ => format!("it begins with {:02x?}, not with \"GGUF\"", &start[..start.len().min(4)]),
    }
}

fn metadata(parser: &mut Parser<'_>, entries: usize) -> Result<Metadata, Error> {
    let start = parser.at();
    // As long as the file could hold, which was checked.
    let mut all = Vec::with_capacity(entries);
    for index in 0..entries {
        let at = parser.at();
        let key = parser.string(KEY_MAX, &format!("metadata key {index}"))?;
        if key.is_empty() {
            return Err(parser.damaged(at, format!("metadata key {index} is empty")));
        }
        let value = parser.value(&key)?;
        all.push((key, value));
    }
    Metadata::new(all).map_err(|key| {
        parser.damaged(start, format!("the metadata key {} stands twice", quoted(&key)))
    })
}

fn tensor_table(parser: &mut Parser<'_>, tensors: usize) -> Result<Vec<TensorInfo>, Error> {
    // As long as the file could hold, which was checked.
    let mut all = Vec::with_capacity(tensors);
    for index in 0..tensors {
        all.push(tensor(parser, index)?);
    }
    Ok(all)
}

/// Reads an entry of the tensor table. Its place counts from the start of the data, which is
/// not known yet.
fn tensor(parser: &mut Parser<'_>, index: usize) -> Result<TensorInfo, Error> {
    let what = format!("entry {index} of the tensor table");
    let at = parser.at();
    let name = parser.string(NAME_MAX, &format!("the name of tensor {index}"))?;
    if name.is_empty() {
        return Err(parser.damaged(at, format!("tensor {index} has no name")));
    }
    let wrong = |what| Error::Tensor { name: name.to_string(), what };
    let rank = parser.u32(&what)?;
    let mut dims = [1; 4];
    let used = usize::try_from(rank).ok().and_then(|rank| dims.get_mut(..rank));
    for dim in used.ok_or_else(|| wrong(format!("{rank} dimensions; at most 4 may be")))? {
        let size = parser.u64(&what)?;
        *dim = usize::try_from(size)
            .ok()
            .filter(|&size| size > 0)
            .ok_or_else(|| wrong(format!("a dimension of {size}")))?;
    }
    let id = parser.u32(&what)?;
    let ty = Type::from_id(id).ok_or_else(|| wrong(unknown_type(id)))?;
    let values = dims.iter().try_fold(1, |values: usize, &dim| values.checked_mul(dim));
    let values = values.filter(|&values| isize::try_from(values).is_ok());
    let values = values.ok_or_else(|| wrong(format!("{dims:?} is larger than any memory")))?;
    if !dims[0].is_multiple_of(ty.block()) {
        let what =
            format!("rows of {} values are not whole {ty} blocks of {}", dims[0], ty.block());
        return Err(wrong(what));
    }
    let bytes = ty.bytes(values as u64);
    let bytes = bytes.ok_or_else(|| wrong(format!("{dims:?} is larger than any file")))?;
    let offset = parser.u64(&what)?;
    Ok(TensorInfo { name, ty, dims, offset, bytes })
}

fn unknown_type(id: u32) -> String {
    match id {
        4 | 5 | 31..=33 | 36..=38 => {
            format!("type {id} was withdrawn; convert the model again with a current llama.cpp")
        }
        _ => format!("type {id} is not known"),
    }
}

/// Where the data begin: behind the header, aligned. Makes the places of `tensors` absolute.
fn data_start(
    parser: &Parser<'_>,
    metadata: &Metadata,
    tensors: &mut [TensorInfo],
) -> Result<u64, Error> {
    let alignment = metadata.u64("general.alignment")?.unwrap_or(ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        let what = format!(
            "general.alignment is {alignment}; it must be a power of two up to {ALIGNMENT_MAX}"
        );
        return Err(parser.damaged(0, what));
    }
    let start = parser.at().next_multiple_of(alignment);
    for tensor in tensors {
        let wrong = |what| Error::Tensor { name: tensor.name.to_string(), what };
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(wrong(format!("its data are not aligned to {alignment} bytes")));
        }
        tensor.offset = start
            .checked_add(tensor.offset)
            .filter(|offset| offset.checked_add(tensor.bytes).is_some())
            .ok_or_else(|| wrong("its data are beyond the end of any file".into()))?;
    }
    Ok(start)
}

/// Checks that all data are in the file, and that no two tensors share any.
fn check_data(tensors: &[TensorInfo], start: u64, len: u64) -> Result<(), Error> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_unstable_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let what = format!("its data overlap those of {}", quoted(&pair[0].name));
            return Err(Error::Tensor { name: pair[1].name.to_string(), what });
        }
    }
    let end = order.last().map_or(start, |last| last.offset + last.bytes);
    match order.iter().find(|tensor| tensor.offset + tensor.bytes > len) {
        None => Ok(()),
        Some(first) => Err(Error::Truncated {
            what: format!("tensor {} of a file of {end} bytes", quoted(&first.name)),
            offset: first.offset,
            needed: first.bytes,
            len,
        }),
    }
}

fn by_name(tensors: &[TensorInfo]) -> Result<Vec<u32>, Error> {
    let mut order: Vec<u32> = (0..).take(tensors.len()).collect();
    let name = |index: u32| &tensors[index as usize].name;
    order.sort_unstable_by_key(|&index| name(index));
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        None => Ok(order),
        Some(pair) => Err(Error::Tensor {
            name: name(pair[0]).to_string(),
            what: "it stands twice in the tensor table".into(),
        }),
    }
}

/// Refuses one part of a model that was split over files.
fn whole(metadata: &Metadata) -> Result<(), Error> {
    match metadata.u64("split.count")? {
        Some(count @ 2..) => Err(Error::Unsupported(format!(
            "the model is split over {count} files; merge them with llama-gguf-split"
        ))),
        _ => Ok(()),
    }
}
