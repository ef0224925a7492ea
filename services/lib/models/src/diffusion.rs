//! Latent diffusion.

mod attention;
mod config;
mod embeddings;
mod layers;
mod part;
mod resnet;
pub mod unet;
