//! config.json of a CLIP, as transformers writes it.

use crate::error::{ModelError, Result};
use crate::layers::{Activation, check_patches, check_sizes, check_width};
use crate::tokenizer::Tokens;
use serde::{Deserialize, Serialize};

/// transformers' stand-in for the end-of-text id in configurations written before its correction.
pub const LEGACY_EOS: u32 = 2;

/// config.json of a CLIP; defaults are transformers' (ViT-B/32).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub architectures: Vec<String>,
    pub model_type: String,
    pub projection_dim: i64,
    pub logit_scale_init_value: f64,
    pub text_config: TextConfig,
    pub vision_config: VisionConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    pub model_type: String,
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub max_position_embeddings: i64,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    pub bos_token_id: u32,
    /// The embedding is read at the first token of this id; 2, written by old checkpoints, means at the largest id.
    pub eos_token_id: u32,
    pub pad_token_id: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    pub model_type: String,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub num_channels: i64,
    pub image_size: i64,
    pub patch_size: i64,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            architectures: vec!["CLIPModel".into()],
            model_type: "clip".into(),
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            model_type: "clip_text_model".into(),
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: 49406,
            eos_token_id: 49407,
            pad_token_id: 1,
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            model_type: "clip_vision_model".into(),
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Config {
    /// # Errors
    /// [`ModelError::Config`] naming the first key that cannot be.
    pub fn check(&self) -> Result<()> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        if self.model_type != "clip" {
            return Err(ModelError::Config {
                key: "model_type",
                why: format!("{:?} is not \"clip\"", self.model_type),
            });
        }
        text.check()?;
        check_width(
            "vision_config.hidden_size",
            vision.hidden_size,
            vision.num_attention_heads,
        )?;
        check_patches(vision.image_size, vision.patch_size)?;
        let sizes = [self.projection_dim, vision.intermediate_size];
        check_sizes("projection_dim", &sizes)?;
        let depths = [vision.num_hidden_layers, vision.num_channels];
        check_sizes("num_hidden_layers", &depths)
    }
}

impl TextConfig {
    /// # Errors
    /// [`ModelError::Config`] naming the first key that cannot be.
    pub fn check(&self) -> Result<()> {
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        check_width("text_config.hidden_size", width, heads)?;
        check_sizes("vocab_size", &[self.vocab_size, self.intermediate_size])?;
        check_sizes("num_hidden_layers", &[self.num_hidden_layers])?;
        let positions = self.max_position_embeddings;
        check_sizes("max_position_embeddings", &[positions])?;
        if positions < 2 {
            return Err(ModelError::Config {
                key: "max_position_embeddings",
                why: "must be at least 2: a text begins and ends".into(),
            });
        }
        Ok(())
    }

    /// The position that stands for a sentence: that of its end.
    ///
    /// # Errors
    /// [`ModelError::Input`] for ids outside the vocabulary, a sentence without end, or one that is too long.
    pub fn end(&self, tokens: &Tokens) -> Result<i64> {
        let refuse = |why: String| Err(ModelError::Input(why));
        let is_unknown = |id: &&u32| i64::from(**id) >= self.vocab_size;
        if let Some(id) = tokens.ids.iter().find(is_unknown) {
            return refuse(format!(
                "token id {id} is outside the vocabulary of {}",
                self.vocab_size
            ));
        }
        let end = if self.eos_token_id == LEGACY_EOS {
            tokens.ids.iter().max()
        } else {
            Some(&self.eos_token_id)
        };
        match tokens.ids.iter().position(|id| Some(id) == end) {
            Some(end) if (end as i64) < self.max_position_embeddings => Ok(end as i64),
            Some(end) => refuse(format!(
                "{} tokens; at most {} fit",
                end + 1,
                self.max_position_embeddings
            )),
            None => refuse("a tokenised sentence lacks its end-of-text token".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_within_the_context_and_knows_only_the_vocabulary() {
        let text = TextConfig {
            vocab_size: 10,
            eos_token_id: 9,
            max_position_embeddings: 3,
            ..TextConfig::default()
        };
        let end = |ids: &[u32]| {
            let tokens = Tokens {
                ids: ids.to_vec(),
                truncated: false,
            };
            text.end(&tokens).map_err(|error| error.to_string())
        };
        assert_eq!(end(&[8, 1, 9, 9]), Ok(2));
        for (ids, why) in [
            (&[8, 10, 9][..], "outside the vocabulary of 10"),
            (&[8, 1, 1, 9], "4 tokens; at most 3 fit"),
            (&[8, 1], "lacks its end"),
            (&[], "lacks its end"),
        ] {
            assert!(end(ids).unwrap_err().contains(why), "{ids:?}");
        }
    }
}
