//! How a run's models were trained: curves from the `training.json` beside each.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::plot::{Labels, Line, Plot, Scale};

/// Models of a run, by the names of their folders.
const MODELS: [&str; 3] = ["baseline", "augmented", "clip"];

/// One model's training.
#[derive(Debug, Clone, Deserialize)]
pub struct Training {
    #[serde(skip)]
    name: String,
    best_epoch: u32,
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

/// One model's curves, for the template.
#[derive(Debug, Serialize)]
pub struct Curves {
    name: String,
    best_epoch: u32,
    epochs: usize,
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

/// Loss, scores, learning rates and norms over the epochs of each model.
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
        line("gradient", first, |epoch| epoch.gradient_norm),
        line("weights", second, |epoch| epoch.weight_norm),
    ];
    let mean =
        |of: fn(&Epoch) -> f64| epochs.iter().map(of).sum::<f64>() / epochs.len().max(1) as f64;
    Curves {
        name: training.name.clone(),
        best_epoch: training.best_epoch,
        epochs: epochs.len(),
        images_per_second: mean(|epoch| epoch.images_per_second),
        utilisation: mean(|epoch| epoch.utilisation),
        plots: vec![
            plot("Loss", "mean over images", &losses, true),
            plot("On the val split", "share", &scores, true),
            plot(
                "Learning rate",
                "thousandths, at the epoch's end",
                &rates,
                false,
            ),
            plot("L2 norm", "before clipping", &norms, false),
        ],
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
        let record =
            json!({"best_epoch": 2, "epochs": [epoch(1), epoch(2), epoch(3)], "request": {}});
        fs::create_dir(models.path().join("baseline")).unwrap();
        fs::write(
            models.path().join("baseline/training.json"),
            record.to_string(),
        )
        .unwrap();
        let trainings = read(models.path());
        assert_eq!(trainings.len(), 1);
        let curves = curves(&trainings);
        assert_eq!((curves[0].epochs, curves[0].plots.len()), (3, 4));
        let page = html(&parse(&example()).unwrap(), &[], &trainings).unwrap();
        assert!(page.contains("best epoch 2 of 3"));
        assert!(page.contains("97.00 %") && page.contains("macro F1: 0.75"));
    }
}
