// oneDNN's linear maps, of libtorch's operators.

#include "ffi.hpp"
#include "operators.hpp"

using at::Tensor;

extern "C" {

// Whether this libtorch has the operators.
bool saga_linear_available() {
  const char *linear = "mkldnn::_linear_pointwise", *pack = "mkldnn::_reorder_linear_weight";
  return has_operator(linear, "", c10::DispatchKey::MkldnnCPU) &&
         (has_operator(pack, "", c10::DispatchKey::CPU) ||
          has_operator(pack, "", c10::DispatchKey::MkldnnCPU));
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
