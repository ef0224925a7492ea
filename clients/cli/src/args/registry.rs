//! Flags of `saga model registry`.

use clap::{Args, Subcommand, ValueEnum};
use saga_proto::labelstore::v1::ModelStage;

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// List versions with their stage, lineage and figures.
    List(RegistryListArgs),
    /// Give a version its stage. A classifier that follows the name then serves it; promoting an older version rolls back.
    Promote(PromoteArgs),
}

#[derive(Debug, Args)]
pub struct RegistryListArgs {
    /// Versions of this name alone.
    #[arg(default_value = "")]
    pub name: String,
    /// Address of the label store.
    #[arg(long, value_name = "URL")]
    pub address: String,
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    pub name: String,
    pub version: u64,
    #[arg(long, value_enum, default_value_t = StageName::Serving)]
    pub stage: StageName,
    /// Address of the label store.
    #[arg(long, value_name = "URL")]
    pub address: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    Candidate,
    Serving,
    Archived,
}

impl From<StageName> for ModelStage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Candidate => Self::Candidate,
            StageName::Serving => Self::Serving,
            StageName::Archived => Self::Archived,
        }
    }
}
