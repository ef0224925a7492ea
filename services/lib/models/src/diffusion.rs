//! Diffusion: latent (Rombach et al. 2022) from diffusers directories: Stable Diffusion 1.x and 2.x and InstructPix2Pix.
//!
//! Figures equal diffusers' to 1e-4 in f32. A directory holds `model_index.json`, `text_encoder`, `tokenizer`, `unet`, `vae` and
//! `scheduler`; weights are safetensors or pickles, in one file or several. What a configuration asks for and is not done here
//! is an error that names the file and the key.
//!
//! [`class_conditional`] is the small model that a data set's own classes train, of the same blocks and schedulers, in pixels.

mod attention;
pub mod class_conditional;
mod config;
mod embeddings;
mod guidance;
mod index;
mod layers;
pub mod lora;
pub mod neighbours;
pub mod noise;
mod part;
mod pipeline;
mod pixels;
mod resnet;
pub mod scheduler;
pub mod text_encoder;
pub mod unet;
pub mod vae;

pub use index::revision;
pub use pipeline::{Request, Settings, StableDiffusion, Task};
