// Calls operators of libtorch by name, as TorchScript does: tch binds only those of the aten namespace.

#include "ffi.hpp"

#include <ATen/core/dispatch/Dispatcher.h>

namespace {

using at::Tensor;

c10::OperatorHandle operation(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
}

c10::optional<Tensor> given(const Tensor *tensor) {
  return tensor ? c10::optional<Tensor>(*tensor) : c10::nullopt;
}

} // namespace

extern "C" {

// Whether this libtorch has the operators.
bool saga_linear_available() {
  auto &dispatcher = c10::Dispatcher::singleton();
  auto linear = dispatcher.findSchema({"mkldnn::_linear_pointwise", ""});
  auto pack = dispatcher.findSchema({"mkldnn::_reorder_linear_weight", ""});
  auto has = [](const auto &operation) {
    return operation && operation->hasKernelForDispatchKey(c10::DispatchKey::MkldnnCPU);
  };
  auto has_dense = [](const auto &operation) {
    return operation && operation->hasKernelForDispatchKey(c10::DispatchKey::CPU);
  };
  return has(linear) && (has_dense(pack) || has(pack));
}

// A weight [outputs, inputs] in the order that suits `rows` rows of input.
Tensor *saga_linear_pack(const Tensor *weight, int64_t rows, char **error) {
  return answer(error, [&] {
    torch::jit::Stack stack{*weight, rows};
    operation("mkldnn::_reorder_linear_weight", "").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}

// x W^T + b, then the activation.
Tensor *saga_linear_forward(const Tensor *x, const Tensor *weight, const Tensor *bias,
                           const char *activation, const char *algorithm, char **error) {
  return answer(error, [&] {
    c10::List<c10::optional<c10::Scalar>> scalars;
    c10::IValue how = algorithm ? c10::IValue(std::string(algorithm)) : c10::IValue();
    torch::jit::Stack stack{*x, *weight, given(bias), std::string(activation), scalars, how};
    operation("mkldnn::_linear_pointwise", "").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}

// x W^T + b + other.
Tensor *saga_linear_add(const Tensor *x, const Tensor *other, const Tensor *weight,
                               const Tensor *bias, char **error) {
  return answer(error, [&] {
    torch::jit::Stack stack{*x, *other, *weight, given(bias), std::string("add")};
    operation("mkldnn::_linear_pointwise", "binary").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}
}
