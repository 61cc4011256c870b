use std::io::{self, Write};

use super::{Array, Type, Value};

/// Numbers of value types in files.
mod id {
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
}

/// Makes a GGUF file: first what is in it, then, with [`begin`](Self::begin), the data.
#[derive(Clone, Debug)]
pub struct Writer {
    version: u32,
    alignment: u64,
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, Type, Vec<usize>)>,
}

/// A file whose header is written, and whose tensors are being written in their order.
#[derive(Debug)]
pub struct TensorWriter<W> {
    out: W,
    alignment: u64,
    // Bytes of each tensor, the last first.
    sizes: Vec<u64>,
    // Bytes that the tensor at the end of `sizes` still lacks.
    left: u64,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

impl Writer {
    /// An empty file of version 2 or 3, which differ in the number alone.
    pub fn new(version: u32) -> Self {
        Self { version, alignment: 32, metadata: Vec::new(), tensors: Vec::new() }
    }

    /// Where tensor data begin: at multiples of `alignment` bytes, 32 otherwise.
    pub fn align(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment.into();
        self.metadata("general.alignment", alignment)
    }

    /// Adds an entry to the metadata.
    pub fn metadata(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a tensor, the dimension whose values lie side by side first.
    pub fn tensor(&mut self, name: &str, ty: Type, dims: &[usize]) -> &mut Self {
        self.tensors.push((name.to_owned(), ty, dims.to_vec()));
        self
    }

    /// Writes the header. The data of the tensors follow, in the order in which they were added.
    ///
    /// # Errors
    /// If `out` fails, the alignment is no power of two, a tensor does not consist of whole
    /// blocks, or an array has arrays in it.
    pub fn begin<W: Write>(self, mut out: W) -> io::Result<TensorWriter<W>> {
        if !self.alignment.is_power_of_two() {
            return Err(invalid(format!("an alignment of {}", self.alignment)));
        }
        let mut header = b"GGUF".to_vec();
        header.extend(self.version.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            push_string(&mut header, key);
            push_value(&mut header, value)?;
        }
        let mut sizes = Vec::with_capacity(self.tensors.len());
        let mut offset: u64 = 0;
        for (name, ty, dims) in &self.tensors {
            let values = dims.iter().try_fold(1_u64, |all, &dim| all.checked_mul(dim as u64));
            let whole = dims.first().is_none_or(|row| row.is_multiple_of(ty.block()));
            let bytes = values.filter(|_| whole).and_then(|values| ty.bytes(values));
            let bytes = bytes.ok_or_else(|| invalid(format!("{name}: {dims:?} values of {ty}")))?;
            push_string(&mut header, name);
            header.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|&dim| header.extend((dim as u64).to_le_bytes()));
            header.extend(ty.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            sizes.push(bytes);
            offset += bytes.next_multiple_of(self.alignment);
        }
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        out.write_all(&header)?;
        sizes.reverse();
        let left = sizes.last().copied().unwrap_or_default();
        Ok(TensorWriter { out, alignment: self.alignment, sizes, left })
    }
}

impl<W: Write> TensorWriter<W> {
    /// Writes the next bytes: of the tensor that is incomplete, then of those behind it.
    ///
    /// # Errors
    /// If the file fails, or no tensor is left.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(&size) = self.sizes.last() else {
                return Err(invalid(format!("{} bytes behind the last tensor", bytes.len())));
            };
            let (part, rest) = bytes.split_at(bytes.len().min(self.left as usize));
            self.out.write_all(part)?;
            self.left -= part.len() as u64;
            if self.left == 0 {
                let padding = size.next_multiple_of(self.alignment) - size;
                io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out)?;
                self.sizes.pop();
                self.left = self.sizes.last().copied().unwrap_or_default();
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the file, and hands back what it was written to.
    ///
    /// # Errors
    /// If the data of a tensor are missing, or the file fails.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.sizes.is_empty() {
            let what =
                format!("{} tensors lack data, the first {} bytes", self.sizes.len(), self.left);
            return Err(invalid(what));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn push_string(out: &mut Vec<u8>, string: &str) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string.as_bytes());
}

fn push_value(out: &mut Vec<u8>, value: &Value) -> io::Result<()> {
    macro_rules! push {
        ($id:expr, $value:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend($value.to_le_bytes());
        }};
    }
    match value {
        Value::U8(value) => push!(0, value),
        Value::I8(value) => push!(1, value),
        Value::U16(value) => push!(2, value),
        Value::I16(value) => push!(3, value),
        Value::U32(value) => push!(4, value),
        Value::I32(value) => push!(5, value),
        Value::F32(value) => push!(6, value),
        Value::Bool(value) => push!(7, u8::from(*value)),
        Value::String(value) => {
            out.extend(id::STRING.to_le_bytes());
            push_string(out, value);
        }
        Value::Array(array) => {
            out.extend(id::ARRAY.to_le_bytes());
            push_array(out, array)?;
        }
        Value::U64(value) => push!(10, value),
        Value::I64(value) => push!(11, value),
        Value::F64(value) => push!(12, value),
    }
    Ok(())
}

fn push_array(out: &mut Vec<u8>, array: &Array) -> io::Result<()> {
    macro_rules! push {
        ($id:expr, $values:expr, |$value:ident| $bytes:expr) => {{
            out.extend(u32::to_le_bytes($id));
            out.extend(($values.len() as u64).to_le_bytes());
            $values.iter().for_each(|$value| out.extend($bytes.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(values) => push!(0, values, |value| value),
        Array::I8(values) => push!(1, values, |value| value),
        Array::U16(values) => push!(2, values, |value| value),
        Array::I16(values) => push!(3, values, |value| value),
        Array::U32(values) => push!(4, values, |value| value),
        Array::I32(values) => push!(5, values, |value| value),
        Array::F32(values) => push!(6, values, |value| value),
        Array::Bool(values) => push!(7, values, |value| u8::from(*value)),
        Array::Strings(values) => {
            out.extend(id::STRING.to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| push_string(out, value));
        }
        Array::Arrays(_) => return Err(invalid("arrays of arrays are not kept")),
        Array::U64(values) => push!(10, values, |value| value),
        Array::I64(values) => push!(11, values, |value| value),
        Array::F64(values) => push!(12, values, |value| value),
    }
    Ok(())
}
