//! How a run's models were trained: curves from the `training.json` beside each.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::plot::{Labels, Line, Plot, Scale};

/// Models of a run, by the names of their folders.
const MODELS: [&str; 4] = ["baseline", "augmented", "clip", DIFFUSION];
/// The one that does not classify.
const DIFFUSION: &str = "diffusion";

/// One model's training.
#[derive(Debug, Clone, Deserialize)]
pub struct Training {
    #[serde(skip)]
    name: String,
    best_epoch: u32,
    val_loss: f64,
    val_accuracy: f64,
    val_macro_f1: f64,
    seconds: f64,
    epochs: Vec<Epoch>,
}

/// One epoch, as the trainer records it.
#[derive(Debug, Clone, Deserialize)]
struct Epoch {
    epoch: u32,
    train_loss: f64,
    val_loss: f64,
    val_accuracy: f64,
    val_macro_f1: f64,
    learning_rate: f64,
    backbone_learning_rate: f64,
    gradient_norm: f64,
    weight_norm: f64,
    images_per_second: f64,
    utilisation: f64,
}

/// One model's figures and curves, for the template.
#[derive(Debug, Serialize)]
pub struct Curves {
    name: String,
    best_epoch: u32,
    epochs: usize,
    /// Of the best epoch, as both scores are.
    val_loss: f64,
    /// `None` of a model that does not classify.
    val_accuracy: Option<f64>,
    val_macro_f1: Option<f64>,
    /// Mean over the epochs.
    seconds_per_epoch: f64,
    seconds: f64,
    /// Mean over the epochs.
    images_per_second: f64,
    /// Mean over the epochs, 0 to 1.
    utilisation: f64,
    plots: Vec<Plot>,
}

/// The trainings whose records lie below a folder of models; there are none where another machine keeps them.
pub fn read(models: &Path) -> Vec<Training> {
    let record = |name: &str| {
        let text = fs::read(models.join(name).join("training.json")).ok()?;
        let training: Training = serde_json::from_slice(&text).ok()?;
        Some(Training {
            name: name.to_owned(),
            ..training
        })
    };
    MODELS.into_iter().filter_map(record).collect()
}

/// What each training came to, and loss, scores, learning rates and norms over its epochs.
pub fn curves(trainings: &[Training]) -> Vec<Curves> {
    trainings.iter().map(curves_of).collect()
}

fn curves_of(training: &Training) -> Curves {
    let epochs = &training.epochs;
    let line = |name, colour, of: fn(&Epoch) -> f64| Line {
        name,
        colour,
        dashed: false,
        points: epochs
            .iter()
            .map(|epoch| (f64::from(epoch.epoch), of(epoch)))
            .collect(),
    };
    let plot = |title: &str, y, lines: &[Line], best: bool| {
        let labels = Labels {
            title: title.to_owned(),
            x: "epoch",
            x_unit: "",
            y,
        };
        let best = best.then_some((f64::from(training.best_epoch), "best"));
        Plot::new(labels, Scale::Linear, lines, best)
    };
    let (first, second) = ("var(--real)", "var(--new)");
    let losses = [
        line("training", first, |epoch| epoch.train_loss),
        line("validation", second, |epoch| epoch.val_loss),
    ];
    let scores = [
        line("accuracy", first, |epoch| epoch.val_accuracy),
        line("macro F1", second, |epoch| epoch.val_macro_f1),
    ];
    let rates = [
        line("head", first, |epoch| 1e3 * epoch.learning_rate),
        line("backbone", second, |epoch| {
            1e3 * epoch.backbone_learning_rate
        }),
    ];
    let norms = [
        line("gradient, before clipping", first, |epoch| {
            epoch.gradient_norm
        }),
        line("weights", second, |epoch| epoch.weight_norm),
    ];
    let classifies = training.name != DIFFUSION;
    let mut plots = vec![plot("Loss", "mean over images", &losses, true)];
    if classifies {
        plots.push(plot("On the val split", "share", &scores, true));
    }
    plots.extend([
        plot(
            "Learning rate",
            "thousandths, at the epoch's end",
            &rates,
            false,
        ),
        plot("L2 norm", "of all parameters", &norms, false),
    ]);
    let mean =
        |of: fn(&Epoch) -> f64| epochs.iter().map(of).sum::<f64>() / epochs.len().max(1) as f64;
    Curves {
        name: training.name.clone(),
        best_epoch: training.best_epoch,
        epochs: epochs.len(),
        val_loss: training.val_loss,
        val_accuracy: classifies.then_some(training.val_accuracy),
        val_macro_f1: classifies.then_some(training.val_macro_f1),
        seconds_per_epoch: training.seconds / epochs.len().max(1) as f64,
        seconds: training.seconds,
        images_per_second: mean(|epoch| epoch.images_per_second),
        utilisation: mean(|epoch| epoch.utilisation),
        plots,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::{html, parse, results::tests::example};

    #[test]
    fn records_become_curves_of_the_page_and_missing_ones_are_left_out() {
        let models = tempfile::tempdir().unwrap();
        let epoch = |epoch: u32| {
            json!({
                "epoch": epoch, "train_loss": 1.0 / f64::from(epoch), "val_loss": 0.5, "val_accuracy": 0.8,
                "val_macro_f1": 0.75, "learning_rate": 0.001, "backbone_learning_rate": 0.0, "gradient_norm": 2.0,
                "weight_norm": 20.0, "images_per_second": 640.0, "utilisation": 0.97,
            })
        };
        let record = json!({
            "best_epoch": 2, "val_loss": 0.4375, "val_accuracy": 0.8125, "val_macro_f1": 0.7625, "seconds": 36.0,
            "epochs": [epoch(1), epoch(2), epoch(3)], "request": {},
        });
        for model in ["baseline", DIFFUSION] {
            let folder = models.path().join(model);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("training.json"), record.to_string()).unwrap();
        }
        let trainings = read(models.path());
        let curves = curves(&trainings);
        let plots = |of: &Curves| (of.name.clone(), of.epochs, of.plots.len());
        let found: Vec<_> = curves.iter().map(plots).collect();
        assert_eq!(
            found,
            [("baseline".to_owned(), 3, 4), (DIFFUSION.to_owned(), 3, 3)]
        );
        let page = html(&parse(&example()).unwrap(), &[], &trainings).unwrap();
        let row = |name: &str, scores: &str| {
            format!(
                "<tr><td>{name}</td><td>2 of 3</td>{scores}<td>0.438</td><td>12.0 s</td><td>36.0 s</td>"
            )
        };
        let scores = "<td>76.25 %</td><td>81.25 %</td>";
        for text in [
            row("baseline", scores),
            row(DIFFUSION, "<td>-</td><td>-</td>"),
            "97.00 %".to_owned(),
            "macro F1: 0.75".to_owned(),
            "gradient, before clipping".to_owned(),
        ] {
            assert!(page.contains(&text), "{text}\n{page}");
        }
    }
}
