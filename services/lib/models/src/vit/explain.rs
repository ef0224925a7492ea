//! What explanations ask of a ViT: its last activations with a logit's gradient, and who attends to whom.

use super::VitClassifier;
use crate::classifier::gradient;
use crate::error::{ModelError, Result};
use crate::transformer::Block;
use tch::Tensor;

impl VitClassifier {
    /// The first norm of the last block and the gradient of `class`'s logit with respect to it, without the CLS token:
    /// both [N, hidden_size, side / patch, side / patch].
    pub(crate) fn activations(&self, pixel_values: &Tensor, class: i64) -> Result<[Tensor; 2]> {
        self.check_open()?;
        let (last, body) = self.layer.split_last().ok_or_else(no_block)?;
        let (x, normed) = {
            let _guard = tch::no_grad_guard();
            let embedded = self.embedded(pixel_values)?;
            let x = body
                .iter()
                .try_fold(embedded, |x, block| block.forward(&x, None))?;
            let normed = last.normed(&x)?;
            (x, normed)
        };
        let leaf = normed.f_set_requires_grad(true)?;
        let cls = self.final_cls(&last.after_norm(&x, &leaf, None)?)?;
        let gradient = gradient(&self.classifier.forward(&cls, false)?, class, &leaf)?;
        Ok([self.grid(&leaf.f_detach()?)?, self.grid(&gradient)?])
    }

    /// Of every block, first to last, [N, heads, tokens, tokens].
    pub(crate) fn attention_maps(&self, pixel_values: &Tensor) -> Result<Vec<Tensor>> {
        self.check_open()?;
        let _guard = tch::no_grad_guard();
        let mut x = self.embedded(pixel_values)?;
        let mut maps = Vec::with_capacity(self.layer.len());
        for block in &self.layer {
            let normed = block.normed(&x)?;
            maps.push(block.attention_map(&normed)?);
            x = block.after_norm(&x, &normed, None)?;
        }
        Ok(maps)
    }

    /// [N, tokens, width] to [N, width, rows, columns], without the CLS token.
    fn grid(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, count, width) = tokens.size3()?;
        let side = self.base.config.image_size / self.base.config.patch_size;
        Ok(tokens
            .f_narrow(1, 1, count - 1)?
            .f_transpose(1, 2)?
            .f_reshape([batch, width, side, side])?)
    }

    fn check_open(&self) -> Result<()> {
        if self.layer.iter().any(Block::is_sealed) {
            let why = "a model that was loaded to serve has no gradients; load it to explain";
            return Err(ModelError::Input(why.into()));
        }
        Ok(())
    }
}

fn no_block() -> ModelError {
    ModelError::Input("a model without blocks".into())
}
