//! An allocator that gives no single block larger than any request or file here can warrant.
//!
//! libFuzzer's own limit on blocks needs a sanitizer's hooks; its limit on the process (`-rss_limit_mb`) does not, and holds
//! for libtorch too.

use std::alloc::{GlobalAlloc, Layout, System};

/// Far above the decoded pixels of [`MAX_PIXELS`](crate::MAX_PIXELS) in the widest layout.
const LARGEST: usize = 256 << 20;

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// A block that is refused ends the process: "memory allocation of ... bytes failed".
// SAFETY: everything is the system allocator's, but for a refusal, which is a null pointer.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        bounded(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        bounded(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        bounded(size, || unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

fn bounded(size: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    if size > LARGEST {
        return std::ptr::null_mut();
    }
    allocate()
}
