//! A run's events as progress bars on a terminal, as JSON lines otherwise.

mod counter;

use std::{collections::HashMap, io::IsTerminal as _, time::Duration};

use anyhow::Result;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use saga_proto::{
    labelstore::v1::{GetFunnelResponse, ImportReport},
    orchestrator::v1::{Plan, WatchRunResponse, watch_run_response::Event},
    trainer::v1::Epoch,
};
use serde_json::{Value, json};

pub use counter::Counter;

use crate::output;

/// Shows events; one bar a running stage.
pub enum Progress {
    Terminal(Terminal),
    JsonLines,
}

impl Progress {
    /// Bars where standard error is a terminal and JSON was not asked for.
    pub fn new(json: bool) -> Self {
        if on_terminal(json) {
            Self::Terminal(Terminal::default())
        } else {
            Self::JsonLines
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &WatchRunResponse) -> Result<()> {
        let Some(event) = &event.event else {
            return Ok(());
        };
        match self {
            Self::Terminal(terminal) => terminal.show(event),
            Self::JsonLines => {
                if let Some(line) = json_line(event) {
                    eprintln!("{line}");
                }
            }
        }
        Ok(())
    }
}

/// Whether progress is for people: standard error is a terminal, and JSON was not asked for.
pub fn on_terminal(json: bool) -> bool {
    !json && std::io::stderr().is_terminal()
}

/// Bars of the running stages, and lines that stay above them.
#[derive(Default)]
pub struct Terminal {
    bars: MultiProgress,
    stages: HashMap<String, ProgressBar>,
}

impl Terminal {
    fn show(&mut self, event: &Event) {
        match event {
            Event::StageStarted(started) => {
                self.bar(&started.stage);
            }
            Event::StageProgress(progress) => {
                let bar = self.bar(&progress.stage);
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                let eta = progress.eta.as_ref().map(duration);
                bar.set_message(match progress.waiting_for.as_str() {
                    "" => rate_and_eta(progress.rate_per_second, eta),
                    what => format!("waiting: {what}"),
                });
            }
            Event::TrainingEpoch(training) => {
                let Some(epoch) = &training.epoch else { return };
                let bar = self.bar(&training.stage);
                bar.set_length(u64::from(epoch.epochs));
                bar.set_position(u64::from(epoch.epoch));
                bar.set_message(epoch_text(&training.stage, epoch));
            }
            Event::StageFinished(finished) => {
                if let Some(bar) = self.stages.remove(&finished.stage) {
                    bar.finish_and_clear();
                }
                let took = finished.duration.as_ref().map(duration).unwrap_or_default();
                let note = if finished.resumed {
                    " (done earlier)"
                } else {
                    ""
                };
                self.line(format!(
                    "  {:<10} {:>7.1} s{note}",
                    finished.stage,
                    took.as_secs_f64()
                ));
            }
            Event::Funnel(funnel) => {
                self.bar("generate").set_prefix(funnel_text(funnel));
            }
            Event::Plan(plan) => self.line(plan_table(plan)),
            Event::ImportReport(report) => self.line(import_text(report)),
            Event::Failed(failed) => {
                self.line(format!("  {} failed: {}", failed.stage, failed.message))
            }
            Event::Finished(_) => {}
        }
    }

    fn bar(&mut self, stage: &str) -> ProgressBar {
        let bars = &self.bars;
        self.stages
            .entry(stage.to_owned())
            .or_insert_with(|| {
                let template =
                    format!("  {stage:<10} [{{bar:24}}] {{pos}}/{{len}}  {{msg}}  {{prefix}}");
                let style = ProgressStyle::with_template(&template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = bars.add(ProgressBar::new(0).with_style(style));
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            })
            .clone()
    }

    fn line(&self, text: impl AsRef<str>) {
        // A terminal that went away is no reason to stop the run.
        let _ = self.bars.println(text);
    }
}

fn rate_and_eta(rate: f64, eta: Option<Duration>) -> String {
    match eta {
        Some(eta) => format!("{rate:.1}/s, {} left", HumanDuration(eta)),
        None => format!("{rate:.1}/s"),
    }
}

fn epoch_text(stage: &str, epoch: &Epoch) -> String {
    let judged = match stage {
        // It does not classify.
        "diffusion" => format!("val loss {:.4}", epoch.val_loss),
        _ => format!(
            "val accuracy {}  macro F1 {:.3}",
            output::percent(epoch.val_accuracy),
            epoch.val_macro_f1
        ),
    };
    format!(
        "loss {:.3}  {judged}  {:.0} images/s{}",
        epoch.train_loss,
        epoch.images_per_second,
        epoch
            .eta
            .as_ref()
            .map(|eta| format!(", {} left", HumanDuration(duration(eta))))
            .unwrap_or_default(),
    )
}

fn funnel_text(funnel: &GetFunnelResponse) -> String {
    let mut parts = vec![
        format!("generated {}", funnel.generated),
        format!("accepted {}", funnel.accepted),
    ];
    let mut rejected: Vec<_> = funnel.rejected_by.iter().collect();
    rejected.sort();
    parts.extend(
        rejected
            .into_iter()
            .map(|(gate, count)| format!("{gate} -{count}")),
    );
    parts.join("  ")
}

fn plan_table(plan: &Plan) -> String {
    let mut table = output::table(["class", "real", "cap", "planned", "recall"]);
    for class in &plan.classes {
        table.add_row([
            class.label.clone(),
            class.real.to_string(),
            class.cap.to_string(),
            class.planned.to_string(),
            output::percent(class.recall),
        ]);
    }
    table.to_string()
}

fn import_text(report: &ImportReport) -> String {
    let mut text = format!(
        "  {} layout: {} imported, {} unchanged, {} rejected",
        report.layout, report.imported, report.unchanged, report.rejected
    );
    for row in report.bad_rows.iter().take(10) {
        text.push_str(&format!(
            "\n    line {} {}: {} ({})",
            row.line, row.path, row.message, row.reason
        ));
    }
    text
}

fn json_line(event: &Event) -> Option<Value> {
    Some(match event {
        Event::StageStarted(started) => json!({"event": "stage_started", "stage": started.stage}),
        Event::StageProgress(progress) => json!({
            "event": "progress", "stage": progress.stage, "done": progress.done, "total": progress.total,
            "rate_per_second": progress.rate_per_second,
            "eta_seconds": progress.eta.as_ref().map(|eta| duration(eta).as_secs_f64()),
            "waiting_for": progress.waiting_for,
        }),
        Event::StageFinished(finished) => json!({
            "event": "stage_finished", "stage": finished.stage, "resumed": finished.resumed,
            "seconds": finished.duration.as_ref().map(|took| duration(took).as_secs_f64()),
        }),
        Event::TrainingEpoch(training) => {
            let epoch = training.epoch.as_ref()?;
            json!({
                "event": "epoch", "stage": training.stage, "epoch": epoch.epoch, "epochs": epoch.epochs,
                "train_loss": epoch.train_loss, "val_loss": epoch.val_loss, "val_accuracy": epoch.val_accuracy,
                "val_macro_f1": epoch.val_macro_f1, "learning_rate": epoch.learning_rate,
                "backbone_learning_rate": epoch.backbone_learning_rate, "gradient_norm": epoch.gradient_norm,
                "weight_norm": epoch.weight_norm, "images_per_second": epoch.images_per_second,
                "utilisation": epoch.utilisation,
                "eta_seconds": epoch.eta.as_ref().map(|eta| duration(eta).as_secs_f64()),
            })
        }
        Event::Funnel(funnel) => json!({
            "event": "funnel", "generated": funnel.generated, "accepted": funnel.accepted,
            "rejected_by": funnel.rejected_by, "errors": funnel.errors,
        }),
        Event::Plan(plan) => json!({
            "event": "plan",
            "classes": plan.classes.iter().map(|class| json!({
                "label": class.label, "real": class.real, "cap": class.cap, "planned": class.planned,
                "recall": class.recall,
            })).collect::<Vec<_>>(),
        }),
        Event::ImportReport(report) => import_json(report),
        Event::Failed(failed) => {
            json!({"event": "failed", "stage": failed.stage, "message": failed.message})
        }
        Event::Finished(_) => return None,
    })
}

/// An import report for programs.
pub fn import_json(report: &ImportReport) -> Value {
    json!({
        "event": "import", "layout": report.layout, "imported": report.imported, "unchanged": report.unchanged,
        "rejected": report.rejected,
        "bad_rows": report.bad_rows.iter().map(|row| json!({
            "line": row.line, "path": row.path, "reason": row.reason, "message": row.message,
        })).collect::<Vec<_>>(),
    })
}

/// A protobuf duration; negative ones are zero.
pub fn duration(duration: &prost_types::Duration) -> Duration {
    (*duration).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use saga_proto::orchestrator::v1::TrainingEpoch;

    use super::*;

    #[test]
    fn the_line_of_an_epoch_has_all_of_its_figures() {
        let epoch = Epoch {
            epoch: 2,
            epochs: 3,
            train_loss: 0.5,
            val_loss: 0.25,
            val_accuracy: 0.75,
            val_macro_f1: 0.625,
            learning_rate: 0.125,
            backbone_learning_rate: 0.0625,
            gradient_norm: 1.5,
            weight_norm: 20.0,
            images_per_second: 640.0,
            utilisation: 0.875,
            eta: None,
        };
        let event = Event::TrainingEpoch(TrainingEpoch {
            stage: "baseline".to_owned(),
            epoch: Some(epoch),
        });
        let told = json!({
            "event": "epoch", "stage": "baseline", "epoch": 2, "epochs": 3, "train_loss": 0.5, "val_loss": 0.25,
            "val_accuracy": 0.75, "val_macro_f1": 0.625, "learning_rate": 0.125, "backbone_learning_rate": 0.0625,
            "gradient_norm": 1.5, "weight_norm": 20.0, "images_per_second": 640.0, "utilisation": 0.875,
            "eta_seconds": null,
        });
        assert_eq!(json_line(&event), Some(told));
    }
}
