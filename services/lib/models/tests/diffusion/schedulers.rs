//! Whole trajectories of every scheduler on outputs that are given.

use crate::{assert_near, group, pipeline};
use saga_models::diffusion::scheduler::{Config, Kind, Prediction};
use saga_models::tch::Tensor;

#[test]
fn trajectories_are_the_same() {
    for scheduler in ["pndm", "ddim", "euler-a", "dpm++2m"] {
        for spacing in ["leading", "linspace", "trailing"] {
            let dir = pipeline("schedulers").join(format!("{scheduler}-{spacing}"));
            let config = Config::read(&dir.join("scheduler_config.json")).unwrap();
            assert_eq!(config.kind, scheduler.parse().unwrap());
            for (name, prediction_type) in [
                ("epsilon", Prediction::Epsilon),
                ("v_prediction", Prediction::VPrediction),
            ] {
                let clips = prediction_type == Prediction::VPrediction;
                let config = Config {
                    prediction_type,
                    clip_sample: Some(clips),
                    ..config.clone()
                };
                for (steps, begin) in [(1, 0), (9, 0), (30, 12)] {
                    let name = format!("{scheduler}-{name}-{spacing}-{steps}");
                    follow(&config, config.kind, &name, steps, begin);
                }
            }
        }
    }
}

fn follow(config: &Config, kind: Kind, name: &str, steps: usize, begin: usize) {
    let figures = group("schedulers", name);
    let mut scheduler = config.scheduler(kind, steps).unwrap();
    let times = Tensor::from_slice(scheduler.timesteps());
    assert_near(&times, &figures["times"], name);
    let sigma = figures["sigma"].double_value(&[]);
    assert!(
        (scheduler.init_noise_sigma() - sigma).abs() <= 1e-4,
        "{name}"
    );
    let mut sample = scheduler
        .add_noise(&figures["clean"], &figures["noise"], begin)
        .unwrap();
    assert_near(&sample, &figures["samples"].get(0), name);
    for step in 0..figures["outputs"].size()[0] {
        let index = begin + step as usize;
        let input = scheduler.scale_model_input(&sample, index).unwrap();
        assert_near(&input, &figures["inputs"].get(step), name);
        let output = figures["outputs"].get(step);
        let mut noise = || Ok(figures["drawn"].get(step));
        sample = scheduler.step(&output, index, &sample, &mut noise).unwrap();
        assert_near(&sample, &figures["samples"].get(step + 1), name);
    }
}
