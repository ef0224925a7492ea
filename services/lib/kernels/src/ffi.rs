//! What the C++ half is given and answers.

use std::ffi::{CStr, CString, c_char, c_void};

use tch::{TchError, Tensor};

unsafe extern "C" {
    /// The C library's: messages come from its strdup.
    fn free(pointer: *mut c_void);
}

/// A tensor to lend, or none.
pub(crate) fn pointer(tensor: Option<&Tensor>) -> *const c_void {
    tensor.map_or(std::ptr::null(), |tensor| tensor.as_ptr().cast())
}

/// Takes over what the C++ half answered: a tensor, or a message.
pub(crate) fn owned(tensor: *mut c_void, error: *mut c_char) -> Result<Tensor, TchError> {
    if tensor.is_null() {
        let message = if error.is_null() {
            CString::default()
        } else {
            // SAFETY: a message is a C string of its own, freed once below.
            unsafe { CStr::from_ptr(error) }.to_owned()
        };
        // SAFETY: as above; null is allowed.
        unsafe { free(error.cast()) };
        return Err(TchError::Torch(message.to_string_lossy().into_owned()));
    }
    // SAFETY: a tensor that the C++ half allocated for us alone, as tch's own do.
    Ok(unsafe { Tensor::from_ptr(tensor.cast()) })
}
