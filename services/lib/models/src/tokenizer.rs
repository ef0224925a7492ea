//! CLIP's text side: sentences to token ids by a tokenizer.json, or by vocab.json and merges.txt; and making a small one of one's
//! own.

use crate::directory;
use crate::error::{ModelError, Result};
use serde_json::{Value, json};
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{TruncationParams, TruncationStrategy};

const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const WORD_END: &str = "</w>";

/// Words and their ids, as vocab.json holds them.
type Vocab = serde_json::Map<String, Value>;

/// A sentence as CLIP reads it: begin, words, end; never padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// Whether words at the end were cut off to fit the model.
    pub truncated: bool,
}

/// Splits sentences into at most the number of tokens a model has positions for.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads tokenizer.json of a model directory, or vocab.json and merges.txt where there is none; `max_tokens` is the text
    /// tower's `max_position_embeddings`.
    ///
    /// # Errors
    /// No such files, or ones that make no tokenizer.
    pub fn from_dir(dir: &Path, max_tokens: usize) -> Result<Self> {
        let path = dir.join(directory::TOKENIZER);
        if !path.exists() && dir.join(directory::MERGES).exists() {
            let vocab: Vocab = directory::read_json(&dir.join(directory::VOCAB))?;
            let merges = merges(&dir.join(directory::MERGES))?;
            let json = description(&vocab, &merges);
            return Self::from_json(json.to_string().as_bytes(), max_tokens);
        }
        let bytes = std::fs::read(&path).map_err(ModelError::io(&path))?;
        Self::from_json(&bytes, max_tokens)
    }

    fn from_json(bytes: &[u8], max_tokens: usize) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(describe)?;
        let truncation = TruncationParams {
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            ..Default::default()
        };
        inner
            .with_padding(None)
            .with_truncation(Some(truncation))
            .map_err(describe)?;
        Ok(Self { inner })
    }

    /// Makes a tokenizer of CLIP's format from the sentences a model will be trained on.
    ///
    /// As OpenAI's: lower case, byte-level BPE, `</w>` at the end of words, every byte known so that no sentence
    /// is unreadable, begin and end the two largest ids. `merges` bounds the vocabulary at 514 plus itself.
    pub fn train<'a>(
        sentences: impl IntoIterator<Item = &'a str>,
        merges: usize,
        max_tokens: usize,
    ) -> Result<Self> {
        let mut learner =
            tokenizers::Tokenizer::from_bytes(description(&Vocab::new(), &json!([])).to_string())
                .map_err(describe)?;
        let alphabet = sorted_alphabet();
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(alphabet.len() * 2 + merges)
            .initial_alphabet(alphabet.iter().copied().collect())
            .end_of_word_suffix(WORD_END.into())
            .build()
            .into();
        let sentences: Vec<&str> = sentences.into_iter().collect();
        learner
            .train(&mut trainer, sentences.into_iter())
            .map_err(describe)?;
        let mut learnt: Value =
            serde_json::to_value(&learner).map_err(|error| describe(error.into()))?;
        let mut pairs = learnt["model"]["merges"].take();
        if let Some(pairs) = pairs.as_array_mut() {
            pairs.truncate(merges);
        }
        let json = description(&vocabulary(&alphabet, &pairs), &pairs);
        Self::from_json(json.to_string().as_bytes(), max_tokens)
    }

    /// Token ids of a sentence, cut at the model's positions with the end token kept.
    pub fn encode(&self, sentence: &str) -> Result<Tokens> {
        let encoding = self.inner.encode(sentence, true).map_err(describe)?;
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }

    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids of begin and end, for the text tower's config.
    pub fn bos_and_eos(&self) -> Result<(u32, u32)> {
        Ok((self.id(BOS)?, self.id(EOS)?))
    }

    /// Id of what shorter sentences are filled up with: the `pad_token` of the directory's tokenizer_config.json, else the end.
    ///
    /// # Errors
    /// A file that is malformed, or names a token that there is not.
    pub fn pad(&self, dir: &Path) -> Result<u32> {
        let path = dir.join(TOKENIZER_CONFIG);
        let config: Value = match path.is_file() {
            true => directory::read_json(&path)?,
            false => Value::Null,
        };
        let token = &config["pad_token"];
        // A token that was added is written with its properties.
        let text = token.as_str().or_else(|| token["content"].as_str());
        self.id(text.unwrap_or(EOS))
    }

    fn id(&self, token: &str) -> Result<u32> {
        let id = self.inner.token_to_id(token);
        id.ok_or_else(|| ModelError::Tokenizer(format!("no token {token}")))
    }

    /// Writes tokenizer.json and tokenizer_config.json into a model directory, as transformers loads them.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let max_tokens = self
            .inner
            .get_truncation()
            .map(|truncation| truncation.max_length);
        let mut plain = self.inner.clone();
        plain.with_truncation(None).map_err(describe)?;
        plain
            .save(dir.join(directory::TOKENIZER), true)
            .map_err(describe)?;
        let config = json!({
            "tokenizer_class": "CLIPTokenizer", "model_max_length": max_tokens,
            "bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS,
        });
        directory::write_json(&dir.join(TOKENIZER_CONFIG), &config)
    }
}

fn describe(error: tokenizers::Error) -> ModelError {
    ModelError::Tokenizer(error.to_string())
}

fn sorted_alphabet() -> Vec<char> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    alphabet
}

/// Bytes, bytes that end a word, merged pairs, begin and end: the order of OpenAI's vocabulary.
fn vocabulary(alphabet: &[char], pairs: &Value) -> Vocab {
    let ending = alphabet.iter().map(|letter| format!("{letter}{WORD_END}"));
    let merged = pairs.as_array().into_iter().flatten().map(|pair| {
        pair.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<String>()
    });
    let mut words: Vec<String> = alphabet.iter().map(char::to_string).chain(ending).collect();
    // Two pairs can merge into one word.
    let mut known: std::collections::HashSet<String> = words.iter().cloned().collect();
    words.extend(merged.filter(|word| known.insert(word.clone())));
    words.extend([BOS, EOS].map(String::from));
    words.into_iter().zip((0_u32..).map(Value::from)).collect()
}

/// merges.txt: a pair of words a line, the first to be merged first, after a line that tells the version.
fn merges(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(ModelError::io(path))?;
    let pairs = text
        .lines()
        .enumerate()
        .filter(|(index, line)| !(line.is_empty() || *index == 0 && line.starts_with("#version")))
        .map(|(index, line)| match line.split_once(' ') {
            Some((left, right))
                if !left.is_empty() && !right.is_empty() && !right.contains(' ') =>
            {
                Ok(json!([left, right]))
            }
            _ => Err(ModelError::Tokenizer(format!(
                "line {} of {} is not two words: {line:?}",
                index + 1,
                path.display()
            ))),
        });
    pairs.collect()
}

/// tokenizer.json as transformers writes it for `CLIPTokenizerFast`.
fn description(vocab: &Vocab, merges: &Value) -> Value {
    let id = |token: &str| vocab.get(token).cloned();
    let special = [BOS, EOS].into_iter().filter_map(|token| {
        Some(json!({"id": id(token)?, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}))
    });
    let special: Vec<Value> = special.collect();
    let ends = id(BOS).zip(id(EOS)).map(|(bos, eos)| {
        json!({"type": "RobertaProcessing", "sep": [EOS, eos], "cls": [BOS, bos], "trim_offsets": false,
            "add_prefix_space": false})
    });
    let words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]},
        "post_processor": ends,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": EOS, "continuing_subword_prefix": "",
            "end_of_word_suffix": WORD_END, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPTS: [&str; 3] = [
        "a photo of a fear face",
        "a photo of a joy face",
        "a photo of an anger face",
    ];

    #[test]
    fn trained_words_become_single_tokens_between_begin_and_end() {
        let tokenizer = Tokenizer::train(PROMPTS, 100, 16).unwrap();
        let (bos, eos) = tokenizer.bos_and_eos().unwrap();
        assert_eq!(
            (bos as usize + 2, eos as usize + 1),
            (tokenizer.vocab_size(), tokenizer.vocab_size())
        );
        let tokens = tokenizer.encode("A  photo of a JOY face").unwrap();
        assert_eq!((tokens.ids.len(), tokens.truncated), (8, false));
        assert_eq!((tokens.ids[0], tokens.ids[7]), (bos, eos));
    }

    #[test]
    fn unseen_characters_never_read_as_the_end() {
        let tokenizer = Tokenizer::train(PROMPTS, 20, 64).unwrap();
        let (_, eos) = tokenizer.bos_and_eos().unwrap();
        let tokens = tokenizer.encode("zürich 東京 q!? 😀").unwrap();
        assert_eq!(tokens.ids.iter().filter(|&&id| id == eos).count(), 1);
    }

    #[test]
    fn long_sentences_are_cut_and_say_so() {
        let tokenizer = Tokenizer::train(PROMPTS, 100, 5).unwrap();
        let tokens = tokenizer.encode(PROMPTS[0]).unwrap();
        assert_eq!((tokens.ids.len(), tokens.truncated), (5, true));
        assert_eq!(tokens.ids[4], tokenizer.bos_and_eos().unwrap().1);
    }

    #[test]
    fn vocab_and_merges_are_told_from_what_they_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let read = |vocab: &str, merges: &str| {
            std::fs::write(dir.path().join(directory::VOCAB), vocab).unwrap();
            std::fs::write(dir.path().join(directory::MERGES), merges).unwrap();
            Tokenizer::from_dir(dir.path(), 16).map_err(|error| error.to_string())
        };
        let vocab =
            r#"{"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"#;
        let tokens = read(vocab, "#version: 0.2\na b</w>\n")
            .unwrap()
            .encode("AB")
            .unwrap();
        assert_eq!(tokens.ids, [3, 2, 4]);
        for (merges, wanted) in [
            ("#version: 0.2\nab", "line 2 of "),
            ("a b c", "line 1 of "),
            ("a c</w>", ""),
        ] {
            let error = read(vocab, merges).err().unwrap();
            assert!(
                error.starts_with("tokenizer: ") && error.contains(wanted),
                "{error}"
            );
        }
        let error = read("[]", "a b</w>").err().unwrap();
        assert!(error.contains("vocab.json"), "{error}");
    }

    #[test]
    fn written_tokenizers_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::train(PROMPTS, 100, 16).unwrap();
        tokenizer.write(dir.path()).unwrap();
        let back = Tokenizer::from_dir(dir.path(), 16).unwrap();
        for prompt in PROMPTS {
            assert_eq!(
                back.encode(prompt).unwrap(),
                tokenizer.encode(prompt).unwrap()
            );
        }
    }
}
