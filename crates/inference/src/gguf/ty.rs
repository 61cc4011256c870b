use std::fmt;

/// Every tensor format that has a number in GGUF files, with its layout: name, number, values
/// per block, bytes per block (`enum ggml_type` and `ggml-common.h` of ggml).
macro_rules! types {
    ($($name:ident = $id:literal, $block:literal, $bytes:literal, $text:literal;)+) => {
        /// How the values of a tensor are stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Type {
            $(#[doc = concat!("`", $text, "`: ", $block, " values in ", $bytes, " bytes.")] $name,)+
        }

        impl Type {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The type with this number in files; `None` for numbers that never were, and for
            /// those that were withdrawn.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)+ _ => None }
            }

            /// Its number in files.
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id,)+ }
            }

            /// Its name, as in names of files: `Q4_1`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Values per block: rows consist of whole blocks.
            pub const fn block(self) -> usize {
                match self { $(Self::$name => $block,)+ }
            }

            /// Bytes per block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)+ }
            }
        }
    };
}

types! {
    F32 = 0, 1, 4, "F32";
    F16 = 1, 1, 2, "F16";
    Q4_0 = 2, 32, 18, "Q4_0";
    Q4_1 = 3, 32, 20, "Q4_1";
    Q5_0 = 6, 32, 22, "Q5_0";
    Q5_1 = 7, 32, 24, "Q5_1";
    Q8_0 = 8, 32, 34, "Q8_0";
    Q8_1 = 9, 32, 36, "Q8_1";
    Q2K = 10, 256, 84, "Q2_K";
    Q3K = 11, 256, 110, "Q3_K";
    Q4K = 12, 256, 144, "Q4_K";
    Q5K = 13, 256, 176, "Q5_K";
    Q6K = 14, 256, 210, "Q6_K";
    Q8K = 15, 256, 292, "Q8_K";
    Iq2Xxs = 16, 256, 66, "IQ2_XXS";
    Iq2Xs = 17, 256, 74, "IQ2_XS";
    Iq3Xxs = 18, 256, 98, "IQ3_XXS";
    Iq1S = 19, 256, 50, "IQ1_S";
    Iq4Nl = 20, 32, 18, "IQ4_NL";
    Iq3S = 21, 256, 110, "IQ3_S";
    Iq2S = 22, 256, 82, "IQ2_S";
    Iq4Xs = 23, 256, 136, "IQ4_XS";
    I8 = 24, 1, 1, "I8";
    I16 = 25, 1, 2, "I16";
    I32 = 26, 1, 4, "I32";
    I64 = 27, 1, 8, "I64";
    F64 = 28, 1, 8, "F64";
    Iq1M = 29, 256, 56, "IQ1_M";
    Bf16 = 30, 1, 2, "BF16";
    Tq1_0 = 34, 256, 54, "TQ1_0";
    Tq2_0 = 35, 256, 66, "TQ2_0";
    Mxfp4 = 39, 32, 17, "MXFP4";
    Nvfp4 = 40, 64, 36, "NVFP4";
    Q1_0 = 41, 128, 18, "Q1_0";
    Q2_0 = 42, 64, 18, "Q2_0";
}

impl Type {
    /// Whether the native engine runs weights of this type.
    pub const fn runs(self) -> bool {
        matches!(
            self,
            Self::F32
                | Self::F16
                | Self::Bf16
                | Self::Q4_0
                | Self::Q4_1
                | Self::Q5_0
                | Self::Q5_1
                | Self::Q8_0
                | Self::Q4K
                | Self::Q5K
                | Self::Q6K
        )
    }

    /// The bytes of `values` values; `None` unless they are whole blocks, or past `u64`.
    pub const fn bytes(self, values: u64) -> Option<u64> {
        let block = self.block() as u64;
        if !values.is_multiple_of(block) {
            return None;
        }
        (values / block).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
