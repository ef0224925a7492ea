// Linear maps of 8-bit integers: inputs are quantised here, products are libtorch's oneDNN operators.

#include "ffi.hpp"
#include "operators.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_UNIT __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_UNIT
#endif

namespace {

using at::Tensor;

// Rounds halves up and keeps to 0..255.
inline uint8_t level(float x, float factor, float zero) {
  float scaled = x * factor + zero;
  scaled = scaled > 0.0f ? scaled : 0.0f;
  scaled = scaled < 255.0f ? scaled : 255.0f;
  return static_cast<uint8_t>(static_cast<int32_t>(scaled + 0.5f));
}

FOR_EACH_UNIT void quantize_f32(const float *x, const float *factors, float zero, int64_t columns,
                                uint8_t *to) {
  for (int64_t i = 0; i < columns; i++)
    to[i] = level(x[i], factors[i], zero);
}

FOR_EACH_UNIT void quantize_bf16(const uint16_t *x, const float *factors, float zero,
                                 int64_t columns, uint8_t *to) {
  for (int64_t i = 0; i < columns; i++) {
    uint32_t bits = static_cast<uint32_t>(x[i]) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    to[i] = level(value, factors[i], zero);
  }
}

} // namespace

extern "C" {

// x [.., columns], f32 or bf16, to u8: x * factors[column] + zero.
Tensor *saga_quantize(const Tensor *x, const Tensor *factors, int64_t zero, char **error) {
  return answer(error, [&] {
    TORCH_CHECK(x->is_contiguous() && factors->is_contiguous(), "quantize: not contiguous");
    TORCH_CHECK(x->dim() > 0 && factors->numel() == x->size(-1), "quantize: ", x->sizes(), " for ",
                factors->numel(), " columns");
    auto kind = x->scalar_type();
    TORCH_CHECK(kind == at::kFloat || kind == at::kBFloat16, "quantize: ", kind);
    Tensor to = at::empty(x->sizes(), x->options().dtype(at::kByte));
    int64_t columns = x->size(-1), rows = columns ? x->numel() / columns : 0;
    auto *out = to.mutable_data_ptr<uint8_t>();
    const auto *factor = factors->const_data_ptr<float>();
    const void *from = x->const_data_ptr();
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t start = begin * columns; start < end * columns; start += columns)
        if (kind == at::kFloat)
          quantize_f32(static_cast<const float *>(from) + start, factor, zero, columns, out + start);
        else
          quantize_bf16(static_cast<const uint16_t *>(from) + start, factor, zero, columns,
                        out + start);
    });
    return to;
  });
}

// Whether this libtorch has the operators.
bool saga_quantized_available() {
  return has_operator("onednn::qlinear_prepack", "", c10::DispatchKey::CPU) &&
         has_operator("onednn::qlinear_pointwise", "", c10::DispatchKey::CPU) &&
         has_operator("onednn::qlinear_pointwise", "binary", c10::DispatchKey::CPU);
}

// A weight s8 [outputs, inputs] in the order that suits `rows` rows of input.
Tensor *saga_quantized_pack(const Tensor *weight, int64_t rows, char **error) {
  return answer(error, [&] {
    c10::List<int64_t> shape({rows, weight->size(1)});
    torch::jit::Stack stack{*weight, shape};
    operation("onednn::qlinear_prepack", "").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}

// (x - zero) W^T with the scales of W's rows, which hold that of x too, + b; then the activation, or + other. Of `like`'s
// element type.
Tensor *saga_quantized_forward(const Tensor *x, int64_t zero, const Tensor *weight,
                               const Tensor *scales, const Tensor *zeros, const Tensor *bias,
                               const Tensor *other, const char *activation, const Tensor *like,
                               char **error) {
  return answer(error, [&] {
    c10::List<c10::optional<c10::Scalar>> scalars;
    std::string post(activation), none("none");
    auto kind = static_cast<int64_t>(like->scalar_type());
    if (other) {
      torch::jit::Stack stack{*x,     1.0,  zero, *weight,     *scales, *zeros, given(other),
                              given(bias), 1.0, int64_t{0}, kind,    1.0,    int64_t{0},
                              std::string("add"), 1.0, none, scalars, none};
      operation("onednn::qlinear_pointwise", "binary").callBoxed(stack);
      return stack.at(0).toTensor();
    }
    torch::jit::Stack stack{*x,  1.0,        zero, *weight, *scales, *zeros, given(bias),
                            1.0, int64_t{0}, kind, post,    scalars, none};
    operation("onednn::qlinear_pointwise", "").callBoxed(stack);
    return stack.at(0).toTensor();
  });
}
}
