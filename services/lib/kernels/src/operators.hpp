// Operators of libtorch by name, as TorchScript calls them: tch binds only those of the aten namespace.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

inline c10::OperatorHandle operation(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
}

inline bool has_operator(const char *name, const char *overload, c10::DispatchKey key) {
  auto operation = c10::Dispatcher::singleton().findSchema({name, overload});
  return operation && operation->hasKernelForDispatchKey(key);
}

inline c10::optional<at::Tensor> given(const at::Tensor *tensor) {
  return tensor ? c10::optional<at::Tensor>(*tensor) : c10::nullopt;
}
