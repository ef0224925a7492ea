// oneDNN's convolutions, of libtorch's operators.

#include "ffi.hpp"
#include "operators.hpp"

using at::Tensor;

extern "C" {

// Whether this libtorch has the operators.
bool saga_convolution_available() {
  return has_operator("mkldnn::_convolution_pointwise", "", c10::DispatchKey::MkldnnCPU) &&
         has_operator("aten::mkldnn_reorder_conv2d_weight", "", c10::DispatchKey::MkldnnCPU);
}

// The convolution with its bias; channels innermost.
Tensor *saga_convolution_forward(const Tensor *x, const Tensor *weight, const Tensor *bias,
                                 int64_t padding, int64_t stride, char **error) {
  return answer(error, [&] {
    std::vector<int64_t> paddings{padding, padding}, strides{stride, stride}, dilations{1, 1};
    c10::List<c10::optional<c10::Scalar>> scalars;
    torch::jit::Stack stack{*x,        *weight,   given(bias),         paddings, strides,
                            dilations, int64_t(1), std::string("none"), scalars,  c10::IValue()};
    operation("mkldnn::_convolution_pointwise", "").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}
}
