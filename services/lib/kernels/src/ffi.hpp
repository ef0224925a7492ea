// How answers and errors cross to Rust.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstring>
#include <exception>

// The tensor that a call makes, the caller's own; or null, and its message to be freed by the caller.
template <typename Call> at::Tensor *answer(char **error, Call call) {
  try {
    return new at::Tensor(call());
  } catch (const std::exception &exception) {
    *error = strdup(exception.what());
    return nullptr;
  }
}
