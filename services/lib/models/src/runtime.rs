//! Where a model runs and in which precision: device and precision are chosen once, at start.

use crate::error::{ModelError, Result};
use crate::model::SEALED_FOR;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// Element type of the arithmetic. Master weights are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    /// On GPUs, and to serve only: its range is too short to train in.
    F16,
    /// On CPUs, and to serve only: linear maps of transformers in 8-bit integers, the rest in bf16 where the CPU is fast in it,
    /// else in f32. For directories that [`crate::int8::quantize`] was satisfied with.
    Int8,
}

impl Precision {
    /// Of what flows between the layers.
    pub fn kind(self) -> Kind {
        match self {
            Self::Int8 if cpu_multiplies_bf16() => Kind::BFloat16,
            Self::F32 | Self::Int8 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::F16 => Kind::Half,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

/// A device and a precision to run a model with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime {
    pub device: Device,
    pub precision: Precision,
    /// True where nobody asked for this precision by name: a model whose bf16 output drifts from f32 then falls
    /// back to f32 instead of refusing to start.
    pub may_fall_back: bool,
}

impl Runtime {
    /// The CPU in f32: the reference that everything else is compared with.
    pub const REFERENCE: Self = Self {
        device: Device::Cpu,
        precision: Precision::F32,
        may_fall_back: false,
    };

    /// Chooses from `device` ("auto", "cpu", "cuda", "cuda:N") and `precision` ("auto", "f32", "bf16"; on a GPU "f16", on
    /// a CPU "int8").
    ///
    /// "auto" takes the first GPU where there is one, and bf16 where the CPU (AVX-512, AMX) or the GPU computes in it. On a CPU this
    /// process keeps freed memory from now on, for tensors to come.
    ///
    /// # Errors
    /// [`ModelError::Device`] and [`ModelError::Precision`] for an unknown name or one this machine cannot serve.
    pub fn select(device: &str, precision: &str) -> Result<Self> {
        let device = select_device(device)?;
        if device == Device::Cpu {
            keep_freed_memory();
        }
        let (precision, may_fall_back) = match precision {
            "auto" if computes_bf16_fast(device) => (Precision::Bf16, true),
            "auto" | "f32" => (Precision::F32, false),
            "bf16" => (Precision::Bf16, false),
            "f16" if device.is_cuda() => (Precision::F16, false),
            "f16" => {
                return Err(refused(
                    precision,
                    "is for GPUs; use bf16 or f32 on the CPU",
                ));
            }
            "int8" if device == Device::Cpu && saga_kernels::quantized::available() => {
                (Precision::Int8, false)
            }
            "int8" => {
                return Err(refused(
                    precision,
                    "is for CPUs with the x86-64 build of libtorch; use auto, bf16 or f32",
                ));
            }
            other => {
                return Err(refused(other, "unknown; use auto, f32, bf16, f16 or int8"));
            }
        };
        Ok(Self {
            device,
            precision,
            may_fall_back,
        })
    }

    /// Images at a time that the device computes fastest, or nearly so with less to wait for. ViT-B/16 in bf16 on two cores:
    /// 26.3 ms an image eight at a time, 24.6 ms sixteen, 31.0 ms thirty-two, whose tensors of over 32 MB the allocator asks the
    /// operating system for each time.
    #[must_use]
    pub fn suitable_batch(&self) -> usize {
        if self.device.is_cuda() {
            64
        } else {
            SEALED_FOR as usize
        }
    }

    /// "cpu" or "cuda:0", as [`Runtime::select`] takes it.
    #[must_use]
    pub fn device_name(&self) -> String {
        match self.device {
            Device::Cuda(index) => format!("cuda:{index}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.device_name(), self.precision)
    }
}

/// Limits libtorch to `threads` CPU threads within an operation; zero keeps its default (one a core).
pub fn set_threads(threads: usize) {
    if let Ok(threads @ 1..) = i32::try_from(threads) {
        tch::set_num_threads(threads);
    }
}

/// Limits libtorch on this thread to one of `shares` of its CPU threads, at least one; other threads keep what they have.
pub fn share_cores(shares: usize) {
    // Between setting and restoring, another thread would take the share for the whole.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Asked for first: a thread that has not computed yet would take the process's number later.
    let all = tch::get_num_threads();
    let Ok(shares @ 2..) = i32::try_from(shares) else {
        return;
    };
    tch::set_num_threads((all / shares).max(1));
    // That was also the number of threads to come. It is theirs alone that another thread sets.
    let restore = std::thread::Builder::new().spawn(move || tch::set_num_threads(all));
    if !restore.is_ok_and(|thread| thread.join().is_ok()) {
        tracing::warn!("threads to come are limited to a share of the cores, too");
    }
}

/// Tells the C library's allocator, which tensors on the CPU come from, not to give memory back to the operating system at
/// once: it would ask for the same pages again in the next layer, zeroed one by one. In a service, where models compute on
/// threads of their own, that took ViT-B/16 30.5 ms an image for 26.9. Blocks of 32 MB and more still go back.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn keep_freed_memory() {
    const LARGEST_KEPT: libc::c_int = 32 << 20;
    // SAFETY: sets two numbers under the allocator's own lock.
    let set = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_KEPT) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1
    };
    tracing::debug!(set, "freed memory is kept");
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_memory() {}

fn refused(precision: &str, why: &str) -> ModelError {
    ModelError::Precision {
        precision: precision.into(),
        why: why.into(),
    }
}

fn select_device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = cuda_index(name)?;
    let count = usize::try_from(cuda_devices()).unwrap_or(0);
    match index {
        None if count > 0 => Ok(Device::Cuda(0)),
        None => Ok(Device::Cpu),
        Some(index) if index < count => Ok(Device::Cuda(index)),
        Some(_) => Err(ModelError::Device {
            device: name.into(),
            why: format!(
                "{count} CUDA device(s) usable; use auto or cpu, or make libtorch_cuda.so and a driver available"
            ),
        }),
    }
}

/// None for "auto".
fn cuda_index(name: &str) -> Result<Option<usize>> {
    let index = match name {
        "auto" => return Ok(None),
        "cuda" => Some(0),
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok()),
    };
    index.map(Some).ok_or_else(|| ModelError::Device {
        device: name.into(),
        why: "unknown; use auto, cpu or cuda:N".into(),
    })
}

fn cuda_devices() -> i64 {
    open_libtorch_cuda();
    if tch::Cuda::is_available() {
        tch::Cuda::device_count()
    } else {
        0
    }
}

/// Opens libtorch_cuda.so, once, where the loader finds it. The binary links CPU libtorch only; opened with
/// RTLD_GLOBAL before the first CUDA query, the library registers its kernels with the dispatcher.
#[cfg(unix)]
fn open_libtorch_cuda() {
    static OPENED: std::sync::Once = std::sync::Once::new();
    OPENED.call_once(|| {
        let beside_libtorch = std::env::var_os("LIBTORCH")
            .map(|root| std::path::Path::new(&root).join("lib/libtorch_cuda.so"));
        let candidates = [Some("libtorch_cuda.so".into()), beside_libtorch];
        let opened = candidates
            .into_iter()
            .flatten()
            .any(|path| open_global(&path));
        tracing::debug!(opened, "looked for libtorch_cuda.so");
    });
}

#[cfg(not(unix))]
fn open_libtorch_cuda() {}

#[cfg(unix)]
#[allow(unsafe_code)]
fn open_global(path: &std::path::Path) -> bool {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
    // SAFETY: libtorch_cuda.so is libtorch's own library; its initialisers only register kernels, and the handle
    // is never closed.
    let library = unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) };
    library.map(std::mem::forget).is_ok()
}

fn computes_bf16_fast(device: Device) -> bool {
    match device {
        Device::Cpu => cpu_multiplies_bf16(),
        device => multiplies_bf16(device),
    }
}

/// Whether the processor multiplies bf16 in AVX-512, as all that have AMX do. ViT-B/16 took 78 ms an image in f32 and 47 in bf16 on two
/// cores without AMX.
fn cpu_multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

fn multiplies_bf16(device: Device) -> bool {
    Tensor::f_ones([2, 2], (Kind::BFloat16, device))
        .and_then(|ones| ones.f_matmul(&ones))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_share_of_the_cores_is_one_threads_alone() {
        let on_a_thread = |shares: usize| {
            thread::spawn(move || {
                share_cores(shares);
                tch::get_num_threads()
            })
        };
        let all = tch::get_num_threads();
        let half = (all / 2).max(1);
        let several: Vec<_> = (0..8).map(|_| on_a_thread(2)).collect();
        for thread in several {
            assert_eq!(thread.join().unwrap(), half);
        }
        assert_eq!(on_a_thread(1000).join().unwrap(), 1);
        assert_eq!(on_a_thread(1).join().unwrap(), all);
        assert_eq!(tch::get_num_threads(), all);
    }

    #[test]
    fn names_select_device_and_precision() {
        assert_eq!(Runtime::select("cpu", "f32").unwrap(), Runtime::REFERENCE);
        assert_eq!(
            Runtime::select("cpu", "bf16").unwrap().precision,
            Precision::Bf16
        );
        let auto = Runtime::select("cpu", "auto").unwrap();
        assert_eq!(auto.may_fall_back, auto.precision == Precision::Bf16);
    }

    #[test]
    fn unknown_names_are_refused() {
        for device in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(
                matches!(
                    Runtime::select(device, "f32"),
                    Err(ModelError::Device { .. })
                ),
                "{device}"
            );
        }
        for precision in ["f16", "f8", ""] {
            assert!(matches!(
                Runtime::select("cpu", precision),
                Err(ModelError::Precision { .. })
            ));
        }
    }

    #[test]
    fn an_absent_gpu_is_a_typed_error() {
        assert!(matches!(
            Runtime::select("cuda:99", "f32"),
            Err(ModelError::Device { .. })
        ));
    }
}
