//! What a model ran on, for records and reports.

use crate::runtime::Runtime;
use serde::{Deserialize, Serialize};
use tch::Device;

/// Device, arithmetic and library of a computation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// "cpu" or "cuda:0".
    pub device: String,
    /// Name of the processor or GPU as the operating system or driver tells it; empty where neither does.
    pub processor: String,
    /// "f32", "bf16", "f16" or "int8".
    pub precision: String,
    /// Version of libtorch that this was built with.
    pub libtorch: String,
    /// CPU threads within an operation.
    pub threads: u32,
}

impl Environment {
    /// Of computations with `runtime` on this machine, with libtorch's threads as they are set now.
    #[must_use]
    pub fn of(runtime: Runtime) -> Self {
        let processor = match runtime.device {
            Device::Cuda(index) => gpu_name(index),
            _ => cpu_name(),
        };
        Self {
            device: runtime.device_name(),
            processor: processor.unwrap_or_default(),
            precision: runtime.precision.to_string(),
            libtorch: env!("SAGA_LIBTORCH_VERSION").to_owned(),
            threads: u32::try_from(tch::get_num_threads()).unwrap_or_default(),
        }
    }
}

fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    value_of(&info, "model name")
}

/// The driver's name of the GPU at this place in its own order, which CUDA's follows unless told otherwise.
fn gpu_name(index: usize) -> Option<String> {
    let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").ok()?;
    let mut folders: Vec<_> = gpus.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let info = std::fs::read_to_string(folders.get(index)?.join("information")).ok()?;
    value_of(&info, "Model")
}

/// The value of the first `key : value` line.
fn value_of(info: &str, key: &str) -> Option<String> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_device_precision_and_libtorch() {
        let environment = Environment::of(Runtime::REFERENCE);
        assert_eq!(
            (environment.device.as_str(), environment.precision.as_str()),
            ("cpu", "f32")
        );
        assert!(
            environment
                .libtorch
                .starts_with(|c: char| c.is_ascii_digit())
        );
        assert!(environment.threads >= 1);
    }

    #[test]
    fn reads_what_the_kernel_and_the_driver_write() {
        let cpu =
            "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t: a b\nmodel name\t: other\n";
        assert_eq!(value_of(cpu, "model name").unwrap(), "Some CPU @ 2.0GHz");
        let gpu = "Model: \t\t Some GPU 80GB\nIRQ:   \t\t 42\n";
        assert_eq!(value_of(gpu, "Model").unwrap(), "Some GPU 80GB");
        assert_eq!(value_of(gpu, "Name"), None);
    }
}
