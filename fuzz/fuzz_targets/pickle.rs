//! Files of torch.save: archives and what was before them. Tensors or a refusal, within what the file's size allows.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use saga_models::pickle;
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new().expect("a file"));

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FILE.path(), bytes).expect("room for a file");
    let Ok(tensors) = pickle::read(FILE.path()) else {
        return;
    };
    let mut total = 0;
    for tensor in tensors.values() {
        let empty = tensor.shape.contains(&0);
        let count: usize = if empty {
            0
        } else {
            tensor.shape.iter().product()
        };
        assert_eq!(tensor.data.len(), count * tensor.dtype.bitsize() / 8);
        total += tensor.data.len();
    }
    assert!(total <= (8 * bytes.len()).max(1 << 20), "{total}");
});
