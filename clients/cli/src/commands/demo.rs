//! `saga demo`: renders a data set and runs the studio recipe on it.

use anyhow::Result;

use crate::{
    args::{DemoArgs, Global, RunArgs, StudioArgs},
    commands::{data, run},
};

pub async fn demo(global: &Global, args: DemoArgs) -> Result<()> {
    let data = args.out.join("data");
    if !data.join("labels.csv").exists() {
        let studio = StudioArgs {
            out: data.clone(),
            seed: args.seed,
            size: 128,
            counts: Vec::new(),
        };
        data::studio(global, studio).await?;
    }
    let run = RunArgs {
        recipe: "studio".to_owned(),
        data,
        out: args.out,
        generator: None,
        seed: Some(args.seed),
        resume: args.resume,
        test_mode: args.test_mode,
        max_cost: None,
        crop_faces: None,
        estimate: false,
    };
    run::run(global, run).await
}
