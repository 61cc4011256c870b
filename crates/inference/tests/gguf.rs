//! GGUF files: what is written is read back, and each way in which a file can be wrong is told.

use std::io::Write;

use dialtone_inference::gguf::{Array, Error, Gguf, Strings, Type, Value, Writer};

/// A small file with a value of every kind and two tensors.
fn writer(version: u32) -> Writer {
    let mut writer = Writer::new(version);
    let words: Strings = ["", "Ġthe", "日本", "\0"].into_iter().collect();
    writer
        .metadata("general.architecture", "llama")
        .metadata("llama.block_count", 2_u32)
        .metadata("llama.context_length", Value::I64(4096))
        .metadata("llama.rope.freq_base", 1e5_f32)
        .metadata("negative", -1)
        .metadata("add_bos", true)
        .metadata("tokens", words)
        .metadata("scores", vec![1.5_f32, -2.0])
        .metadata("types", vec![1_i32, 3])
        .metadata("small", Value::Array(Array::U8(vec![1, 2])))
        .metadata("flags", Value::Array(Array::Bool(vec![true, false])));
    writer.tensor("a.weight", Type::Q4_1, &[64, 3]).tensor("b", Type::F32, &[5]);
    writer
}

/// The file, with the data of `a.weight` all 1 and those of `b` all 2.
fn file(version: u32) -> Vec<u8> {
    let mut data = writer(version).begin(Vec::new()).expect("a header");
    // Across the border, in uneven pieces.
    let bytes = [vec![1; 120], vec![2; 20]].concat();
    bytes.chunks(7).for_each(|piece| data.write(piece).expect("written"));
    data.finish().expect("whole")
}

fn open(bytes: Vec<u8>) -> Result<Gguf, String> {
    Gguf::from_bytes(bytes).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_is_read_back() {
    for version in [2, 3] {
        let bytes = file(version);
        let mut on_disk = tempfile::NamedTempFile::new().expect("a file");
        on_disk.write_all(&bytes).expect("written");
        for gguf in [Gguf::from_bytes(bytes), Gguf::open(on_disk.path())] {
            let gguf = gguf.expect("valid");
            assert_eq!(gguf.version(), version);
            let metadata = gguf.metadata();
            assert_eq!(metadata.architecture().expect("there"), "llama");
            assert_eq!(metadata.need_arch::<u32>("block_count").expect("there"), 2);
            assert_eq!(metadata.u64("llama.context_length").expect("there"), Some(4096));
            assert_eq!(metadata.f32("llama.rope.freq_base").expect("there"), Some(1e5));
            assert_eq!(metadata.bool("add_bos").expect("there"), Some(true));
            let tokens = metadata.strings("tokens").expect("strings").expect("there");
            assert_eq!(tokens.iter().collect::<Vec<_>>(), ["", "Ġthe", "日本", "\0"]);
            assert_eq!((tokens.get(1), tokens.get(4)), (Some("Ġthe"), None));
            assert_eq!(metadata.f32s("scores").expect("there"), Some(&[1.5, -2.0][..]));
            assert_eq!(metadata.i32s("types").expect("there"), Some(&[1, 3][..]));
            assert_eq!(metadata.u64s("small").expect("there"), Some(vec![1, 2]));
            assert_eq!(metadata.u64("absent").expect("no error"), None);
            assert_eq!(metadata.iter().count(), 11);

            let a = gguf.tensor("a.weight").expect("there");
            assert_eq!((a.ty, a.dims, a.bytes), (Type::Q4_1, [64, 3, 1, 1], 120));
            assert_eq!((a.columns(), a.rows(), a.values(), a.row_bytes()), (64, 3, 192, 40));
            let b = gguf.tensor("b").expect("there");
            assert_eq!(b.dims, [5, 1, 1, 1]);
            assert_eq!(gguf.tensor("c"), None);
            assert_eq!(gguf.read(a).expect("data"), [1; 120]);
            assert_eq!(gguf.read(b).expect("data"), [2; 20]);
            let mut end = [0; 7];
            gguf.read_into(b, 13, &mut end).expect("data");
            assert_eq!(end, [2; 7]);
            let outside = gguf.read_into(b, 14, &mut end).expect_err("one byte too far");
            assert_eq!(
                outside.to_string(),
                "tensor \"b\": 7 bytes from byte 14 were asked for, it has 20",
            );
        }
    }
}

#[test]
fn values_of_other_types_are_named_with_their_keys() {
    let gguf = open(file(3)).expect("valid");
    let metadata = gguf.metadata();
    let wrong = |error: Option<Error>| error.expect("an error").to_string();
    for (error, text) in [
        (
            metadata.u64("negative").err(),
            "metadata \"negative\" is i32 -1, expected an integer that is not negative",
        ),
        (metadata.str("scores").err(), "metadata \"scores\" is array of 2 f32, expected a string"),
        (
            metadata.strings("types").err(),
            "metadata \"types\" is array of 2 i32, expected an array of strings",
        ),
        (
            metadata.bool("general.architecture").err(),
            "metadata \"general.architecture\" is string, expected true or false",
        ),
        (metadata.need::<u64>("absent").err(), "the metadata lack \"absent\""),
        (
            metadata.need_arch::<u64>("embedding_length").err(),
            "the metadata lack \"llama.embedding_length\"",
        ),
    ] {
        assert_eq!(wrong(error), text);
    }
}

/// Writes `bytes` over those at `at`.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file(3);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// Where `text` stands in the file.
fn place(text: &str) -> usize {
    let file = file(3);
    file.windows(text.len()).position(|part| part == text.as_bytes()).expect("in the file")
}

/// Where the value of a metadata entry begins, with its type.
fn value(key: &str) -> usize {
    place(key) + key.len()
}

#[test]
fn other_files_are_told_what_they_are() {
    for (bytes, text) in [
        (&b""[..], "not a GGUF file: the file is empty"),
        (b"GG", "not a GGUF file: it begins with [47, 47], not with \"GGUF\""),
        (
            b"\0\0\0\0\0\0\0\0",
            "not a GGUF file: it begins with [00, 00, 00, 00], not with \"GGUF\"",
        ),
        (b"PK\x03\x04....", "not a GGUF file: it is a zip archive (a wheel?); the model is inside"),
        (b"tjgg\x01\0\0\0", "not a GGUF file: it is an old ggml file; convert the model to GGUF"),
        (
            b"\x10\0\0\0\0\0\0\0{\"a",
            "not a GGUF file: it looks like safetensors; convert the model to GGUF",
        ),
        (
            b"version https://git-lfs",
            "not a GGUF file: it is a Git LFS pointer; fetch the model itself with `git lfs pull`",
        ),
        (
            b"<!DOCTYPE html>",
            "not a GGUF file: it is a web page; the download went to the wrong address",
        ),
        (
            b"GGUF\x01\0\0\0",
            "GGUF version 1 is not read; convert the model again with a current llama.cpp",
        ),
        (b"GGUF\x04\0\0\0", "GGUF version 4 is not known; versions 2 and 3 are read"),
        (b"GGUF\0\0\0\x03", "big-endian GGUF is not read; convert the model to little endian"),
    ] {
        assert_eq!(open(bytes.to_vec()).expect_err("refused"), text, "{bytes:?}");
    }
}

/// Opens files that must be refused, each for a reason that its error names.
fn refused<const N: usize>(cases: [(Vec<u8>, &str); N]) {
    for (bytes, text) in cases {
        let error = open(bytes).err().unwrap_or_else(|| panic!("not refused: {text}"));
        assert!(error.contains(text), "{error:?} does not say {text:?}");
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let most = u64::MAX.to_le_bytes();
    let many = 60_000_u64.to_le_bytes();
    let tokens = value("tokens");
    refused([
        (
            patched(8, &most),
            "damaged at byte 8: 18446744073709551615 tensors; at most 65536 are read",
        ),
        (
            patched(8, &many),
            "cut short or damaged: 1440000 bytes should be at byte 24 (60000 tensors), but it has 704 in all",
        ),
        (
            patched(16, &most),
            "damaged at byte 16: 18446744073709551615 metadata entries; at most 65536 are read",
        ),
        (
            patched(16, &many),
            "cut short or damaged: 780000 bytes should be at byte 24 (60000 metadata entries)",
        ),
        (
            patched(24, &most),
            "damaged at byte 24: metadata key 0 of 18446744073709551615 bytes; at most 65535 may be",
        ),
        (patched(24, &0_u64.to_le_bytes()), "damaged at byte 24: metadata key 0 is empty"),
        (patched(32, &[0xff]), "damaged at byte 24: metadata key 0 is not UTF-8"),
        (patched(tokens, &13_u32.to_le_bytes()), "the value of \"tokens\" has the unknown type 13"),
        (
            patched(tokens + 4, &13_u32.to_le_bytes()),
            "the value of \"tokens\" is an array of the unknown type 13",
        ),
        (patched(tokens + 8, &most), "(18446744073709551615 strings in the value of \"tokens\")"),
        (
            patched(tokens + 4, &9_u32.to_le_bytes()),
            "(21474836480 values in the value of \"tokens\")",
        ),
        (patched(tokens + 16, &most), "(18446744073709551615 bytes of the value of \"tokens\")"),
        (patched(value("flags") + 16, &[2]), "the value of \"flags\" is the truth value 2"),
        (patched(value("add_bos") + 4, &[9]), "the value of \"add_bos\" is the truth value 9"),
        (patched(place("add_bos") - 8, &[8]), "has the unknown type"),
    ]);
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let most = u64::MAX.to_le_bytes();
    let tensor = place("a.weight") + 8;
    refused([
        (
            patched(tensor, &5_u32.to_le_bytes()),
            "tensor \"a.weight\": 5 dimensions; at most 4 may be",
        ),
        (patched(tensor + 4, &0_u64.to_le_bytes()), "tensor \"a.weight\": a dimension of 0"),
        (
            patched(tensor + 4, &most),
            "tensor \"a.weight\": [18446744073709551615, 3, 1, 1] is larger than any memory",
        ),
        (
            patched(tensor + 12, &(1_u64 << 60).to_le_bytes()),
            "tensor \"a.weight\": [64, 1152921504606846976, 1, 1] is larger than any memory",
        ),
        (
            patched(tensor + 4, &33_u64.to_le_bytes()),
            "tensor \"a.weight\": rows of 33 values are not whole Q4_1 blocks of 32",
        ),
        (patched(tensor + 20, &99_u32.to_le_bytes()), "tensor \"a.weight\": type 99 is not known"),
        (
            patched(tensor + 20, &31_u32.to_le_bytes()),
            "type 31 was withdrawn; convert the model again with a current llama.cpp",
        ),
        (
            patched(tensor + 24, &1_u64.to_le_bytes()),
            "tensor \"a.weight\": its data are not aligned to 32 bytes",
        ),
        (
            patched(tensor + 24, &(u64::MAX - 31).to_le_bytes()),
            "tensor \"a.weight\": its data are beyond the end of any file",
        ),
        (
            patched(tensor + 24, &96_u64.to_le_bytes()),
            "tensor \"b\": its data overlap those of \"a.weight\"",
        ),
        (
            patched(tensor + 24, &(1_u64 << 40).to_le_bytes()),
            "(tensor \"a.weight\" of a file of 1099511628440 bytes)",
        ),
    ]);
}

#[test]
fn entries_that_stand_twice_are_refused() {
    let mut keys = writer(3);
    keys.metadata("negative", 1);
    let keys = keys.begin(Vec::new()).and_then(|mut data| data.write(&[0; 140]).and(data.finish()));
    let error = open(keys.expect("written")).expect_err("refused");
    assert_eq!(error, "damaged at byte 24: the metadata key \"negative\" stands twice");

    let mut names = writer(3);
    names.tensor("b", Type::F16, &[1]);
    let names =
        names.begin(Vec::new()).and_then(|mut data| data.write(&[0; 142]).and(data.finish()));
    let error = open(names.expect("written")).expect_err("refused");
    assert_eq!(error, "tensor \"b\": it stands twice in the tensor table");
}

#[test]
fn alignment_and_parts_of_split_models_are_checked() {
    let with = |key: &str, value: Value| {
        let mut writer = Writer::new(3);
        writer.metadata(key, value);
        let bytes = writer.begin(Vec::new()).and_then(|data| data.finish()).expect("written");
        open(bytes).expect_err("refused")
    };
    for alignment in [0, 3, 48, 1 << 20] {
        let error = with("general.alignment", alignment.into());
        assert!(
            error.contains(&format!("general.alignment is {alignment}; it must be")),
            "{error}"
        );
    }
    let error = with("general.alignment", "32".into());
    assert!(error.contains("metadata \"general.alignment\" is string"), "{error}");
    let error = with("split.count", Value::U16(3));
    assert_eq!(error, "the model is split over 3 files; merge them with llama-gguf-split");

    let mut aligned = Writer::new(3);
    aligned.align(4096).tensor("a", Type::F32, &[1]).tensor("b", Type::F32, &[1]);
    let mut data = aligned.begin(Vec::new()).expect("a header");
    data.write(&[1, 0, 0, 0, 2, 0, 0, 0]).expect("written");
    let gguf = open(data.finish().expect("whole")).expect("valid");
    let offsets: Vec<_> = gguf.tensors().iter().map(|tensor| tensor.offset % 4096).collect();
    assert_eq!(offsets, [0, 0]);
    assert_eq!(gguf.read(gguf.tensor("b").expect("there")).expect("data"), [2, 0, 0, 0]);
}

#[test]
fn arrays_in_arrays_are_read_over_and_not_too_deep() {
    // One array within the other `depth` times, the innermost empty.
    let nested = |depth: usize| {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend([0_u64, 1, 1].map(u64::to_le_bytes).concat());
        file.extend(b"k\x09\0\0\0");
        for _ in 0..depth {
            file.extend(b"\x09\0\0\0\x01\0\0\0\0\0\0\0");
        }
        file.extend(b"\x05\0\0\0\0\0\0\0\0\0\0\0");
        file
    };
    let gguf = open(nested(2)).expect("valid");
    assert_eq!(gguf.metadata().value("k"), Some(&Value::Array(Array::Arrays(1))));
    let error = open(nested(100_000)).expect_err("refused");
    assert!(error.contains("nests arrays too deeply"), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused_when_it_is_opened() {
    let whole = file(3);
    for len in 0..whole.len() {
        let cut = open(whole[..len].to_vec());
        // The padding behind the last tensor is nobody's.
        let padding = len >= whole.len() - 12;
        assert_eq!(cut.is_ok(), padding, "{len} of {} bytes: {cut:?}", whole.len());
        if let (Err(error), 16..) = (cut, len) {
            assert!(error.starts_with("the file is cut short or damaged: "), "{len}: {error}");
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_gives_an_error() {
    let mut on_disk = tempfile::NamedTempFile::new().expect("a file");
    on_disk.write_all(&file(3)).expect("written");
    let gguf = Gguf::open(on_disk.path()).expect("valid");
    on_disk.as_file().set_len(600).expect("shorter");
    let error = gguf.read(gguf.tensor("b").expect("there")).expect_err("the data are gone");
    assert!(
        error.to_string().contains("20 bytes should be at byte 672 (tensor \"b\"), but it has 600")
    );
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = Gguf::open(dir.path()).expect_err("a folder").to_string();
    assert_eq!(error, format!("cannot open {}: it is not a file", dir.path().display()));
    let absent = Gguf::open(&dir.path().join("absent.gguf")).expect_err("absent");
    assert!(matches!(absent, Error::Open { .. }), "{absent}");
}

#[test]
fn a_writer_refuses_what_no_reader_takes() {
    let mut blocks = Writer::new(3);
    blocks.tensor("a", Type::Q4K, &[255]);
    assert!(blocks.begin(Vec::new()).is_err());
    let mut short = writer(3).begin(Vec::new()).expect("a header");
    short.write(&[0; 139]).expect("written");
    assert!(short.finish().is_err());
    let mut long = writer(3).begin(Vec::new()).expect("a header");
    assert!(long.write(&[0; 141]).is_err());
}
