//! `saga explain`: what a classifier looks at, image by image and on average, and which way to tell holds up best.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use saga_proto::{
    classifier::v1::{
        ExplainRequest, Explanation, ExplanationMap, ExplanationMethod, FaithfulnessCurves,
        explain_response::Outcome, explainer_service_client::ExplainerServiceClient,
    },
    r#type::v1::Image,
};
use serde_json::{Value, json};

use crate::{
    args::{ExplainArgs, Global, MethodName},
    commands::{classify::load_model, guard::read_image},
    failure, folder, output,
    system::{Folders, System},
};

pub async fn explain(global: &Global, args: ExplainArgs) -> Result<()> {
    let paths = chosen(&args)?;
    let images = paths.iter().map(|path| read_image(path));
    let images: Vec<Image> = images.collect::<Result<_>>()?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder `{}`", args.out.display()))?;
    let scratch = tempfile::tempdir()?;
    let system = System::open(global, Folders::below(scratch.path())).await?;
    let mut model = String::new();
    if system.local().is_some() {
        load_model(&system, &args.model).await?;
    } else {
        model = args.model.display().to_string();
    }
    let request = ExplainRequest {
        images,
        model,
        label: args.class.clone().unwrap_or_default(),
        methods: args
            .methods
            .iter()
            .map(|&method| ExplanationMethod::from(method).into())
            .collect(),
        samples: args.samples.unwrap_or(0),
        seed: args.seed,
        with_overlays: true,
        with_curves: true,
    };
    let client = ExplainerServiceClient::new(system.classifier.clone());
    let mut answers = saga_client::limited!(client)
        .explain(request)
        .await?
        .into_inner();
    let mut results = Results {
        args: &args,
        images: Vec::new(),
        failed: 0,
        summary: None,
    };
    while let Some(answer) = answers.message().await? {
        let path = answer.index.and_then(|index| paths.get(index as usize));
        let outcome = answer.outcome.context("the service answered nothing")?;
        results.take(answer.index, path, outcome)?;
    }
    results.finish(global)?;
    let (failed, all) = (results.failed, paths.len());
    system.stop().await?;
    if failed > 0 {
        bail!("{failed} of {all} images could not be explained");
    }
    Ok(())
}

/// The images named and those of the folders named, no more than the limit.
fn chosen(args: &ExplainArgs) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in &args.images {
        match path.is_dir() {
            true => paths.extend(folder::images_below(path)?),
            false => paths.push(path.clone()),
        }
    }
    let mut spread = folder::spread(paths);
    spread.truncate(args.limit as usize);
    spread.sort();
    Ok(spread)
}

/// What came so far.
struct Results<'a> {
    args: &'a ExplainArgs,
    images: Vec<Value>,
    failed: usize,
    /// Of the only image, or the means.
    summary: Option<Explanation>,
}

impl Results<'_> {
    fn take(&mut self, index: Option<u32>, path: Option<&PathBuf>, outcome: Outcome) -> Result<()> {
        let image = path.map(|path| path.display().to_string());
        match outcome {
            Outcome::Explanation(explanation) => {
                let stem = path.and_then(|path| path.file_stem());
                let name = match (index, stem) {
                    (Some(index), Some(stem)) => format!("{index:03}-{}", stem.display()),
                    _ => "mean".to_owned(),
                };
                let maps = self.args.methods.iter().zip(&explanation.maps);
                let maps = maps.map(|(&method, map)| self.save(&name, method, map));
                let maps: Vec<Value> = maps.collect::<Result<_>>()?;
                self.images.push(json!({
                    "image": image,
                    "images": explanation.images,
                    "label": explanation.label,
                    "probability": explanation.probability,
                    "maps": maps,
                }));
                self.summary = Some(explanation);
            }
            Outcome::Error(error) => {
                self.failed += 1;
                let error = failure::describe_status(&saga_chassis::status::from_item(&error));
                eprintln!("{}: {error}", image.as_deref().unwrap_or("mean"));
                self.images.push(json!({"image": image, "error": error}));
            }
        }
        Ok(())
    }

    /// Writes overlay and map of one method, and tells of them.
    fn save(&self, name: &str, method: MethodName, map: &ExplanationMap) -> Result<Value> {
        let method = spelled(method);
        let [overlay, raw] = ["png", "npy"].map(|kind| format!("{name}.{method}.{kind}"));
        let write = |file: &str, bytes: &[u8]| {
            let path = self.args.out.join(file);
            std::fs::write(&path, bytes)
                .with_context(|| format!("cannot write `{}`", path.display()))
        };
        write(&overlay, &map.overlay)?;
        write(&raw, &npy(map))?;
        let curves = map.curves.clone().unwrap_or_default();
        Ok(json!({
            "method": method,
            "overlay": overlay,
            "map": raw,
            "deletion": curves.deletion,
            "insertion": curves.insertion,
            "deletion_area": curves.deletion_area,
            "insertion_area": curves.insertion_area,
        }))
    }

    fn finish(&self, global: &Global) -> Result<()> {
        let ranking = self.ranking();
        let document = json!({
            "model": self.args.model.display().to_string(),
            "explanations": self.images,
            "ranking": ranking.iter().map(|(method, curves)| json!({
                "method": method,
                "deletion_area": curves.deletion_area,
                "insertion_area": curves.insertion_area,
            })).collect::<Vec<_>>(),
        });
        let file = self.args.out.join("explanations.json");
        saga_export::write(&file, serde_json::to_vec_pretty(&document)?)?;
        if global.json {
            return output::print_json(&document);
        }
        let mut table = output::table(["method", "deletion", "insertion", "insertion - deletion"]);
        for (method, curves) in &ranking {
            table.add_row([
                method.clone(),
                output::figure(curves.deletion_area),
                output::figure(curves.insertion_area),
                format!("{:+.3}", margin(curves)),
            ]);
        }
        println!("{table}");
        if let Some(Explanation { label, images, .. }) = &self.summary {
            let label = match label.as_str() {
                "" => "their classes",
                label => label,
            };
            println!(
                "{images} image(s) explained as {label}: {}",
                self.args.out.display()
            );
        }
        Ok(())
    }

    /// The methods with their curves, the one first whose pixels matter most to the model.
    fn ranking(&self) -> Vec<(String, FaithfulnessCurves)> {
        let maps = self.summary.iter().flat_map(|summary| &summary.maps);
        let named = self.args.methods.iter().zip(maps);
        let mut ranking: Vec<_> = named
            .filter_map(|(&method, map)| Some((spelled(method), map.curves.clone()?)))
            .collect();
        ranking.sort_by(|a, b| margin(&b.1).total_cmp(&margin(&a.1)));
        ranking
    }
}

/// How much faster the class comes with the pixels of a map than it stays without them.
fn margin(curves: &FaithfulnessCurves) -> f64 {
    curves.insertion_area - curves.deletion_area
}

/// As on the command line.
fn spelled(method: MethodName) -> String {
    let value = method.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The map as NumPy's format 1.0: f32, [height, width].
fn npy(map: &ExplanationMap) -> Vec<u8> {
    let (height, width) = (map.height, map.width);
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // Magic, version, length, dictionary and newline fill a multiple of 64 bytes.
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((length as u16).to_le_bytes());
    file.extend(format!("{dictionary:<0$}\n", length - 1).as_bytes());
    file.extend(map.values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_files_of_numpy() {
        let map = ExplanationMap {
            height: 2,
            width: 1,
            values: vec![1.0, -2.0],
            ..ExplanationMap::default()
        };
        let file = npy(&map);
        assert_eq!(file.len(), 128 + 8);
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&file[10..128]).unwrap();
        let start = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
        assert!(header.starts_with(start) && header.ends_with(" \n"));
        assert_eq!(file[128..], [0, 0, 128, 63, 0, 0, 0, 192]);
    }
}
