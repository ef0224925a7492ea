//! The exemplar editor behind the backend contract.

use futures::future::BoxFuture;
use prost::bytes::Bytes;
use saga_chassis::InvalidValue;
use saga_imaging::{DecodeLimits, RgbImage, decode, encode_jpeg, encode_jpeg_grey};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Description, Made, Outcome, Spec, Without};
use crate::error::GenerateError;
use crate::exemplar::{EditError, Raster, Regions, Settings, edit};
use crate::parameters::{Parameters, invalid};
use crate::pool::Pool;

const PARAMETERS: [&str; 4] = ["strength", "regions", "min_correlation", "jpeg_quality"];
/// The word for "the seed draws the regions".
const AUTO: &str = "auto";

/// The `[exemplar]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemplarConfig {
    /// Real images of the target class that a request should carry.
    pub exemplars: u32,
    /// Least share of the exemplar in the replaced regions, 0 to 1.
    pub min_strength: f32,
    /// Greatest share.
    pub max_strength: f32,
    /// "auto", or regions joined by "+".
    pub regions: String,
    /// Alignments that correlate less are not used, -1 to 1.
    pub min_correlation: f32,
    /// Quality of the answer's JPEG, 50 to 100.
    pub jpeg_quality: u8,
}

impl ExemplarConfig {
    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn check(&self) -> Result<(), InvalidValue> {
        InvalidValue::unless_within("exemplar.exemplars", self.exemplars, 1..=16)?;
        InvalidValue::unless_within("exemplar.max_strength", self.max_strength, 0.0..=1.0)?;
        InvalidValue::unless_within(
            "exemplar.min_strength",
            self.min_strength,
            0.0..=self.max_strength,
        )?;
        InvalidValue::unless_within("exemplar.min_correlation", self.min_correlation, -1.0..=1.0)?;
        InvalidValue::unless_within("exemplar.jpeg_quality", self.jpeg_quality, 50..=100)?;
        regions(&self.regions)
            .map(drop)
            .map_err(|why| InvalidValue::new("exemplar.regions", why))
    }
}

fn regions(text: &str) -> Result<Option<Regions>, String> {
    if text == AUTO {
        Ok(None)
    } else {
        text.parse()
            .map(Some)
            .map_err(|error| format!("{error}, or \"auto\""))
    }
}

/// The backend named `exemplar`.
pub struct ExemplarBackend {
    config: ExemplarConfig,
    limits: DecodeLimits,
    pool: Pool,
}

impl ExemplarBackend {
    /// Decodes under `limits` and edits on `pool`.
    pub fn new(config: ExemplarConfig, limits: DecodeLimits, pool: Pool) -> Self {
        Self {
            config,
            limits,
            pool,
        }
    }
}

impl Backend for ExemplarBackend {
    fn describe(&self) -> Description {
        Description {
            name: "exemplar",
            description: "Edits photographs of faces: aligns a real face of the target class and blends its mouth, eyes and nose in.",
            version: concat!("exemplar-", env!("CARGO_PKG_VERSION")).to_owned(),
            needs_source: true,
            exemplars: self.config.exemplars,
            deterministic: true,
            cost_usd: 0.0,
            batch_cost_usd: None,
        }
    }

    fn generate(&self, spec: Spec) -> BoxFuture<'_, Result<Made, GenerateError>> {
        let (config, limits) = (self.config.clone(), self.limits);
        Box::pin(self.pool.run(move || generate(spec, &config, &limits)))
    }
}

fn generate(
    spec: Spec,
    config: &ExemplarConfig,
    limits: &DecodeLimits,
) -> Result<Made, GenerateError> {
    let mut parameters = Parameters::new(spec.parameters);
    let (settings, quality) = settings(&mut parameters, config)?;
    let decoded = |bytes: &Bytes, field: String| {
        decode(bytes, limits).map_err(|error| GenerateError::image(field, &error))
    };
    let source = decoded(
        &spec.source.unwrap_or_default(),
        "spec.source.data".to_owned(),
    )?;
    let exemplars = spec
        .exemplars
        .iter()
        .enumerate()
        .map(|(i, bytes)| decoded(bytes, format!("spec.exemplars[{i}].data")));
    let exemplars: Vec<RgbImage> = exemplars.collect::<Result<_, _>>()?;
    let outcome = match edit(&source, &exemplars, spec.seed, &settings) {
        Ok(edit) => {
            parameters.note("exemplar", edit.exemplar);
            parameters.note("mirrored", edit.mirrored);
            parameters.note("correlation", edit.correlation);
            parameters.note("regions", edit.regions);
            parameters.note("strength", edit.strength);
            Outcome::Image(encoded(&edit.raster, quality)?)
        }
        Err(EditError::NoExemplars) => {
            return Err(GenerateError::invalid(
                "spec.exemplars",
                EditError::NoExemplars.to_string(),
            ));
        }
        Err(error @ (EditError::NoFace { .. } | EditError::NoAlignment { .. })) => {
            Outcome::Without(Without::NoImage, error.to_string())
        }
    };
    Ok(Made {
        outcome,
        parameters: parameters.in_force(),
        cost_usd: 0.0,
        fault: None,
    })
}

fn settings(
    parameters: &mut Parameters,
    config: &ExemplarConfig,
) -> Result<(Settings, u8), GenerateError> {
    let strength = match parameters.optional_number("strength", 0.0..=1.0)? {
        Some(strength) => strength..=strength,
        None => config.min_strength..=config.max_strength,
    };
    let text = parameters
        .text("regions")
        .unwrap_or_else(|| config.regions.clone());
    let regions = regions(&text).map_err(|why| invalid("regions", why))?;
    let min_correlation =
        parameters.number("min_correlation", config.min_correlation, -1.0..=1.0)?;
    let quality = parameters.number("jpeg_quality", config.jpeg_quality, 50..=100)?;
    parameters.check_all_read(&PARAMETERS)?;
    Ok((
        Settings {
            strength,
            regions,
            min_correlation,
        },
        quality,
    ))
}

fn encoded(raster: &Raster, quality: u8) -> Result<Bytes, GenerateError> {
    let jpeg = match raster {
        Raster::Grey(image) => encode_jpeg_grey(image, quality),
        Raster::Rgb(image) => encode_jpeg(image, quality),
    };
    jpeg.map(Bytes::from)
        .map_err(|error| GenerateError::Internal(error.to_string()))
}
