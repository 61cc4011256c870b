//! Files made in bad faith or by bad luck: whatever the bytes, the reader neither panics nor
//! takes more memory than a small multiple of the file.

use dialtone_inference::gguf::{Array, Gguf, Strings, Type, Value, Writer};
use dialtone_inference::synthetic::{Family, Synthetic, Types};
use proptest::prelude::*;

/// What an open file may hold per byte: a shortest entry of the metadata is 14 bytes in the file
/// and, with its key and value, less than ten times that in memory.
const FACTOR: usize = 10;
/// The buffer of the reader, and messages.
const CONSTANT: usize = 160 * 1024;

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one counts and forwards")]
mod counted {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counted;

    #[global_allocator]
    static ALLOCATOR: Counted = Counted;

    thread_local! {
        // By thread: tests run side by side.
        static HELD: Cell<isize> = const { Cell::new(0) };
        static MOST: Cell<isize> = const { Cell::new(0) };
    }

    fn add(bytes: isize) {
        HELD.set(HELD.get().wrapping_add(bytes));
        MOST.set(MOST.get().max(HELD.get()));
    }

    // SAFETY: every call is forwarded unchanged; counting allocates nothing.
    unsafe impl GlobalAlloc for Counted {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            add(layout.size().cast_signed());
            // SAFETY: as the caller promised.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            add(-layout.size().cast_signed());
            // SAFETY: as the caller promised.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// What `run` returns, and the most bytes that were allocated during it beyond those before.
    pub fn most<T>(run: impl FnOnce() -> T) -> (T, usize) {
        let before = HELD.get();
        MOST.set(before);
        let out = run();
        (out, (MOST.get() - before).cast_unsigned())
    }
}

/// Opens the file and reads all of it, if it can be opened.
fn use_all(bytes: Vec<u8>) -> Result<(), String> {
    let len = bytes.len();
    let (result, most): (Result<(), String>, usize) = counted::most(|| {
        let gguf = Gguf::from_bytes(bytes).map_err(|error| error.to_string())?;
        for tensor in gguf.tensors() {
            assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
            gguf.read(tensor).map_err(|error| error.to_string())?;
        }
        for (key, value) in gguf.metadata().iter() {
            assert_eq!(gguf.metadata().value(key).map(Value::to_string), Some(value.to_string()));
        }
        Ok(())
    });
    assert!(most <= FACTOR * len + CONSTANT, "{most} bytes were allocated for a file of {len}");
    if let Err(error) = &result {
        assert!((10..2000).contains(&error.len()), "{error:?}");
    }
    result
}

/// A small, whole model.
fn model() -> Vec<u8> {
    let mut model = Synthetic::small(Family::Qwen2, Types::all(Type::Q8_0), 7);
    (model.embed, model.heads, model.kv_heads, model.ffn) = (32, 2, 1, 32);
    model.to_bytes().expect("made")
}

/// Numbers that headers are attacked with.
fn absurd() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX - 31),
        Just(1 << 63),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        Just(65_536),
        0_u64..70_000,
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_were_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = model();
        // Most changes hit the header: what is behind it is never looked at.
        let header = bytes.len().min(8192);
        for (at, byte) in changes {
            let at = at.index(header);
            bytes[at] = byte;
        }
        let _ = use_all(bytes);
    }

    #[test]
    fn numbers_that_were_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), absurd(), any::<bool>()), 1..4)) {
        let mut bytes = model();
        let header = bytes.len().min(8192) - 8;
        for (at, number, wide) in changes {
            let at = at.index(header);
            let width = if wide { 8 } else { 4 };
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        let _ = use_all(bytes);
    }

    #[test]
    fn files_that_were_cut(len in any::<prop::sample::Index>()) {
        let mut bytes = model();
        let len = len.index(bytes.len() - 32);
        bytes.truncate(len);
        prop_assert!(use_all(bytes).is_err());
    }

    #[test]
    fn headers_of_absurd_numbers(
        counts in (absurd(), absurd()),
        tail in prop::collection::vec(prop_oneof![
            absurd().prop_map(|number| number.to_le_bytes().to_vec()),
            (0_u32..14).prop_map(|id| id.to_le_bytes().to_vec()),
            Just(b"\x01\0\0\0\0\0\0\0k".to_vec()),
            Just(b"\x09\0\0\0".to_vec()),
        ], 0..40),
    ) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(counts.0.to_le_bytes());
        bytes.extend(counts.1.to_le_bytes());
        bytes.extend(tail.concat());
        let _ = use_all(bytes);
    }

    #[test]
    fn any_bytes(tail in prop::collection::vec(any::<u8>(), 0..4096), version in 1_u8..5) {
        let _ = use_all(tail.clone());
        let start = [&b"GGUF"[..], &[version, 0, 0, 0]].concat();
        let _ = use_all([start, tail].concat());
    }
}

/// The files that cost the most memory per byte are those whose entries are shortest.
#[test]
fn the_densest_files() {
    let count: u32 = 60_000;
    let short = |index: u32| char::from_u32(0x20 + index).unwrap_or('?').to_string();
    let mut keys = Writer::new(3);
    let mut tensors = Writer::new(3);
    for index in 0..50_000 {
        keys.metadata(&short(index), Value::U8(1));
    }
    for index in 0..50_000 {
        tensors.tensor(&short(index), Type::I8, &[]);
    }
    let mut strings = Writer::new(3);
    let empty: Strings = (0..count).map(|_| "").collect();
    let letters: Strings = (0..count).map(|_| "x").collect();
    strings.metadata("empty", empty).metadata("letters", letters);
    let mut flags = Writer::new(3);
    flags.metadata("flags", Value::Array(Array::Bool(vec![true; count as usize])));
    for (writer, data) in [(keys, 0), (tensors, 50_000), (strings, 0), (flags, 0)] {
        let mut file = writer.begin(Vec::new()).expect("a header");
        file.write(&vec![1; data]).expect("written");
        use_all(file.finish().expect("whole")).expect("valid");
    }
}

#[test]
fn a_file_of_holes_takes_no_memory() {
    let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
    // One entry, whose value is a string of 4 GiB.
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend([0_u64, 1, 1].map(u64::to_le_bytes).concat());
    header.extend(b"k\x08\0\0\0");
    header.extend((4_u64 << 30).to_le_bytes());
    std::fs::write(&path, header).expect("written");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
    file.set_len(16 << 30).expect("room for holes");
    let (result, most) = counted::most(|| Gguf::open(&path).map(drop));
    let error = result.expect_err("refused").to_string();
    assert!(error.contains("bytes of header"), "{error}");
    assert!(most < CONSTANT, "{most} bytes were allocated");
}
