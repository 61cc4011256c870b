use regex::Regex;

/// Contractions, letters, digits and the rest, each with the space before it (GPT-2).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// As GPT-2, but any sign may lead letters, digits come in threes, and newlines stand apart.
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// As Llama 3, but each digit stands alone.
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Mistral's Tekken: words break before capitals, each digit stands alone.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+";
/// Each digit alone.
const DIGIT: &str = r"\p{N}";

/// What llama.cpp cuts by when a file does not say.
const FALLBACK: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

/// How the vocabularies of one `tokenizer.ggml.pre` cut text.
struct Rule {
    /// Its names.
    names: &'static [&'static str],
    /// Expressions, each applied to the pieces that the one before it left.
    stages: &'static [&'static str],
    /// Whether a word that is a token as a whole is not put together from its letters.
    whole: bool,
    /// Whether texts begin with the begin token unless the file says otherwise.
    begins: bool,
}

/// The rules of llama.cpp (`llama-vocab.cpp`, its table of pre-tokenizers) for the names that
/// occur with the architectures that run here.
const RULES: &[Rule] = &[
    Rule {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
        stages: &[LLAMA3],
        whole: true,
        begins: true,
    },
    Rule { names: &["dbrx", "smaug-bpe"], stages: &[LLAMA3], whole: false, begins: false },
    Rule {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"],
        stages: &[QWEN2],
        whole: false,
        begins: false,
    },
    Rule {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        stages: &[DIGIT, GPT2],
        whole: false,
        begins: false,
    },
    Rule {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4"],
        stages: &[GPT2],
        whole: false,
        begins: false,
    },
    Rule { names: &["tekken"], stages: &[TEKKEN], whole: true, begins: true },
    Rule { names: &["default"], stages: FALLBACK, whole: false, begins: false },
];

/// Cuts text into the words that byte-level BPE works on.
pub struct Splitter {
    stages: Vec<Stage>,
    whole: bool,
}

/// One expression.
struct Stage {
    regex: Regex,
    // Whether runs of space that end in a newline are words of their own.
    newlines: bool,
}

impl Splitter {
    /// By the name in `tokenizer.ggml.pre`. An unknown or missing name is warned of and gets
    /// the same words as llama.cpp gives to files without one.
    #[must_use]
    pub fn new(pre: Option<&str>) -> Self {
        let rule = pre.and_then(rule);
        if rule.is_none() {
            let pre = pre.unwrap_or_default();
            tracing::warn!(
                "tokenizer.ggml.pre is {pre:?}; words are cut by a general rule, which may cost quality"
            );
        }
        let stages = rule.map_or(FALLBACK, |rule| rule.stages);
        let stages = stages.iter().filter_map(|expression| {
            let newlines = expression.contains(r"\s*[\r\n]+");
            Regex::new(expression).ok().map(|regex| Stage { regex, newlines })
        });
        Self { stages: stages.collect(), whole: rule.is_some_and(|rule| rule.whole) }
    }

    /// Whether a word that is a token as a whole is that token, without merging.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// Calls `word` with each word of `text`, in order. Together they are `text`.
    pub fn words(&self, text: &str, word: &mut dyn FnMut(&str)) {
        stages(&self.stages, text, word);
    }
}

/// Whether texts of this kind of vocabulary begin with the begin token.
pub(super) fn begins(pre: &str) -> bool {
    rule(pre).is_some_and(|rule| rule.begins)
}

fn rule(pre: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.names.contains(&pre))
}

fn stages(all: &[Stage], text: &str, word: &mut dyn FnMut(&str)) {
    let Some((stage, rest)) = all.split_first() else { return word(text) };
    let mut at = 0;
    while at < text.len() {
        let Some(found) = stage.regex.find_at(text, at) else { break };
        if found.start() > at {
            stages(rest, &text[at..found.start()], word);
        }
        let end = stage.end(text, found.start(), found.end());
        stages(rest, &text[found.start()..end], word);
        at = end;
    }
    if at < text.len() {
        stages(rest, &text[at..], word);
    }
}

impl Stage {
    /// Where the word at `start..end` really ends. The published expressions have
    /// `\s+(?!\S)|\s+`: of a run of spaces before a word, the last one belongs to the word.
    /// Looking ahead is left to this function, so that matching stays linear in the text.
    fn end(&self, text: &str, start: usize, end: usize) -> usize {
        let found = &text[start..end];
        let Some(last) = found.chars().next_back().filter(|last| last.is_whitespace()) else {
            return end;
        };
        let alone = found.len() == last.len_utf8();
        let newline = self.newlines && matches!(last, '\r' | '\n');
        if alone || newline || end == text.len() || !found.chars().all(char::is_whitespace) {
            return end;
        }
        end - last.len_utf8()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_compiles() {
        for rule in RULES {
            assert_eq!(Splitter::new(Some(rule.names[0])).stages.len(), rule.stages.len());
        }
    }
}
