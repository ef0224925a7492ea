// Calls operators of libtorch by name, as TorchScript does: tch binds only those of the aten namespace.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdlib>
#include <cstring>
#include <exception>

namespace {

using at::Tensor;

c10::OperatorHandle operation(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
}

c10::optional<Tensor> given(const Tensor *tensor) {
  return tensor ? c10::optional<Tensor>(*tensor) : c10::nullopt;
}

// The one tensor that an operator leaves, or its message, to be freed by the caller.
template <typename Call> Tensor *answer(char **error, Call call) {
  try {
    torch::jit::Stack stack = call();
    return new Tensor(stack.at(0).toTensor());
  } catch (const std::exception &exception) {
    *error = strdup(exception.what());
    return nullptr;
  }
}

} // namespace

extern "C" {

// Whether this libtorch has the operators.
bool saga_onednn_available() {
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
Tensor *saga_onednn_pack(const Tensor *weight, int64_t rows, char **error) {
  return answer(error, [&] {
    torch::jit::Stack stack{*weight, rows};
    operation("mkldnn::_reorder_linear_weight", "").callBoxed(stack);
    return stack;
  });
}

// x W^T + b, then the activation.
Tensor *saga_onednn_linear(const Tensor *x, const Tensor *weight, const Tensor *bias,
                           const char *activation, const char *algorithm, char **error) {
  return answer(error, [&] {
    c10::List<c10::optional<c10::Scalar>> scalars;
    c10::IValue how = algorithm ? c10::IValue(std::string(algorithm)) : c10::IValue();
    torch::jit::Stack stack{*x, *weight, given(bias), std::string(activation), scalars, how};
    operation("mkldnn::_linear_pointwise", "").callBoxed(stack);
    return stack;
  });
}

// x W^T + b + other.
Tensor *saga_onednn_linear_add(const Tensor *x, const Tensor *other, const Tensor *weight,
                               const Tensor *bias, char **error) {
  return answer(error, [&] {
    torch::jit::Stack stack{*x, *other, *weight, given(bias), std::string("add")};
    operation("mkldnn::_linear_pointwise", "binary").callBoxed(stack);
    return stack;
  });
}

void saga_onednn_free(char *text) { free(text); }
}
