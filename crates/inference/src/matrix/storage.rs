/// Bytes of a cache line, and of the widest vector register.
pub(super) const LINE: usize = 64;

/// Zeroed bytes that begin at a cache line.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    // Moving a vector does not move what it holds, and it never grows: the offset stays right.
    bytes: Vec<u8>,
    offset: usize,
    len: usize,
}

impl Storage {
    /// `len` bytes; `None` if the system does not give them.
    pub(super) fn zeroed(len: usize) -> Option<Self> {
        let room = len.checked_add(LINE)?;
        // Asks first, because what comes next ends the program where there is too little.
        Vec::<u8>::new().try_reserve_exact(room).ok()?;
        // Pages that are zero already, where `len` is large.
        let bytes = vec![0; room];
        let offset = bytes.as_ptr().align_offset(LINE);
        Some(Self { bytes, offset, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.offset..][..self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.offset..][..self.len]
    }
}
