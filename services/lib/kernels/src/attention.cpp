// Attention in bf16 with AVX-512: scores, softmax and mixture of 32 queries at a time, so that what lies between them stays in the
// cache. The products are AMX's where the processor has it.

#include "ffi.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define TARGET_TILES                                                                               \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")))

namespace {

using at::BFloat16;

constexpr int64_t LANES = 16;      // f32 of a register, rows of a tile
constexpr int64_t BLOCK = 32;      // queries at a time, two tiles
constexpr int64_t INTERLEAVED = 4; // rows of softmax at a time: one alone waits for its own sums
constexpr float LOG2_E = 1.44269504f;

// A model's pairs of numbers, as both kinds of product take the second matrix: [rows / 2][columns] of two rows each.
using Pairs = uint32_t;

// 2^x to 17 bits, more than the eight that bf16 keeps.
TARGET inline __m512 exp2(__m512 x) {
  __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 part = _mm512_sub_ps(x, whole);
  __m512 power = _mm512_set1_ps(0.055483369f);
  power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(0.24178074f));
  power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(0.69315836f));
  power = _mm512_fmadd_ps(power, part, _mm512_set1_ps(0.99998292f));
  return _mm512_scalef_ps(power, whole);
}

TARGET inline void store_bf16(BFloat16 *to, __m512 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), (__m256i)_mm512_cvtneps_pbh(x));
}

// `rows` of 16 numbers, others taken for zero, as columns.
TARGET void transpose(const uint32_t *from, int64_t stride, int64_t rows, uint32_t *to,
                      int64_t to_stride) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i++)
    a[i] = i < rows ? _mm512_loadu_si512(from + i * stride) : _mm512_setzero_si512();
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    _mm512_storeu_si512(to + i * to_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
    _mm512_storeu_si512(to + (i + 8) * to_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
  }
}

// One head's matrices.
struct Head {
  int64_t tokens;
  int64_t keys; // tokens rounded up to whole blocks
  int64_t width;
  int64_t stride; // of a token's row of queries, keys and values
};

// Keys as columns.
TARGET void pack_keys(const Head &head, const BFloat16 *key, Pairs *to) {
  for (int64_t row = 0; row < head.keys; row += LANES)
    for (int64_t pair = 0; pair < head.width / 2; pair += LANES)
      transpose(reinterpret_cast<const uint32_t *>(key + row * head.stride) + pair, head.stride / 2,
                head.tokens - row, to + pair * head.keys + row, head.keys);
}

TARGET void pack_values(const Head &head, const BFloat16 *value, Pairs *to) {
  auto widened = [&](int64_t row, int64_t column) TARGET {
    if (row >= head.tokens)
      return _mm512_setzero_si512();
    auto from = reinterpret_cast<const __m256i *>(value + row * head.stride + column);
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
  };
  for (int64_t row = 0; row < head.keys; row += 2)
    for (int64_t column = 0; column < head.width; column += LANES) {
      __m512i low = widened(row, column), high = widened(row + 1, column);
      _mm512_storeu_si512(to + row / 2 * head.width + column,
                          _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

// [32, inner] times [inner, columns]; both sizes whole blocks.
using Product = void (*)(const BFloat16 *a, int64_t stride, const Pairs *b, int64_t inner,
                         int64_t columns, float *to);

TARGET void product_by_vectors(const BFloat16 *a, int64_t stride, const Pairs *b, int64_t inner,
                               int64_t columns, float *to) {
  constexpr int64_t ROWS = 8; // with two vectors of each, enough sums to hide how long one takes
  for (int64_t row = 0; row < BLOCK; row += ROWS)
    for (int64_t column = 0; column < columns; column += 2 * LANES) {
      __m512 sums[ROWS][2];
      for (auto &sum : sums)
        sum[0] = sum[1] = _mm512_setzero_ps();
      for (int64_t i = 0; i < inner; i += 2) {
        const Pairs *pairs = b + i / 2 * columns + column;
        auto low = (__m512bh)_mm512_loadu_si512(pairs);
        auto high = (__m512bh)_mm512_loadu_si512(pairs + LANES);
        for (int64_t r = 0; r < ROWS; r++) {
          int pair;
          std::memcpy(&pair, a + (row + r) * stride + i, sizeof pair);
          auto both = (__m512bh)_mm512_set1_epi32(pair);
          sums[r][0] = _mm512_dpbf16_ps(sums[r][0], both, low);
          sums[r][1] = _mm512_dpbf16_ps(sums[r][1], both, high);
        }
      }
      for (int64_t r = 0; r < ROWS; r++) {
        _mm512_storeu_ps(to + (row + r) * columns + column, sums[r][0]);
        _mm512_storeu_ps(to + (row + r) * columns + column + LANES, sums[r][1]);
      }
    }
}

TARGET_TILES void product_by_tiles(const BFloat16 *a, int64_t stride, const Pairs *b, int64_t inner,
                                   int64_t columns, float *to) {
  for (int64_t column = 0; column < columns; column += 2 * LANES) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < inner; i += 2 * LANES) {
      const Pairs *pairs = b + i / 2 * columns + column;
      _tile_loadd(4, a + i, stride * 2);
      _tile_loadd(6, pairs, columns * 4);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, pairs + LANES, columns * 4);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, a + LANES * stride + i, stride * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float *low = to + LANES * columns + column;
    _tile_stored(0, to + column, columns * 4);
    _tile_stored(1, to + column + LANES, columns * 4);
    _tile_stored(2, low, columns * 4);
    _tile_stored(3, low + LANES, columns * 4);
  }
}

// Powers of the scores of a block, 1 for the largest of a row and 0 beyond the last token, and one over each row's sum.
TARGET void softmax(const Head &head, const float *scores, BFloat16 *powers, float *inverse) {
  const int64_t last = (head.tokens - 1) / LANES * LANES;
  const __mmask16 tail = 0xffff >> (last + LANES - head.tokens);
  const float factor = LOG2_E / std::sqrt(static_cast<float>(head.width));
  const __m512 factors = _mm512_set1_ps(factor);
  for (int64_t row = 0; row < BLOCK; row += INTERLEAVED) {
    const float *from = scores + row * head.keys;
    BFloat16 *to = powers + row * head.keys;
    __m512 most[INTERLEAVED], sum[INTERLEAVED];
    for (int64_t r = 0; r < INTERLEAVED; r++)
      most[r] = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), tail, from + r * head.keys + last);
    for (int64_t i = 0; i < last; i += LANES)
      for (int64_t r = 0; r < INTERLEAVED; r++)
        most[r] = _mm512_max_ps(most[r], _mm512_loadu_ps(from + r * head.keys + i));
    for (int64_t r = 0; r < INTERLEAVED; r++) {
      most[r] = _mm512_set1_ps(_mm512_reduce_max_ps(most[r]) * factor);
      sum[r] = _mm512_setzero_ps();
    }
    auto power = [&](int64_t r, int64_t i, __mmask16 mask) TARGET {
      __m512 score = _mm512_loadu_ps(from + r * head.keys + i);
      __m512 power = exp2(_mm512_fmsub_ps(score, factors, most[r]));
      power = _mm512_maskz_mov_ps(mask, power);
      sum[r] = _mm512_add_ps(sum[r], power);
      store_bf16(to + r * head.keys + i, power);
    };
    for (int64_t i = 0; i < last; i += LANES)
      for (int64_t r = 0; r < INTERLEAVED; r++)
        power(r, i, 0xffff);
    for (int64_t r = 0; r < INTERLEAVED; r++) {
      power(r, last, tail);
      if (last + LANES < head.keys)
        store_bf16(to + r * head.keys + last + LANES, _mm512_setzero_ps());
      inverse[row + r] = 1.0f / _mm512_reduce_add_ps(sum[r]);
    }
  }
}

// Rows, each times its factor, as bf16.
TARGET void write(const float *rows, const float *factors, int64_t count, int64_t width,
                  BFloat16 *to, int64_t stride) {
  for (int64_t row = 0; row < count; row++)
    for (int64_t i = 0; i < width; i += LANES)
      store_bf16(to + row * stride + i, _mm512_mul_ps(_mm512_loadu_ps(rows + row * width + i),
                                                      _mm512_set1_ps(factors[row])));
}

// Eight tiles of 16 rows of 64 bytes, as LDTILECFG reads them. A constant: GCC believes that the instruction reads eight bytes,
// and leaves out stores to the others.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {LANES, LANES, LANES, LANES, LANES, LANES, LANES, LANES};
};

const TileConfig TILES;

// Buffers of one thread, reused from head to head.
struct Scratch {
  std::vector<Pairs> keys, values;
  std::vector<BFloat16> queries, powers;
  std::vector<float> scores, mixed, inverse;

  explicit Scratch(const Head &head)
      : keys(head.width / 2 * head.keys), values(head.keys / 2 * head.width),
        queries(BLOCK * head.width), powers(BLOCK * head.keys), scores(BLOCK * head.keys),
        mixed(BLOCK * head.width), inverse(BLOCK) {}
};

// One head of one image: its first query, key and value, and the first of its mixtures, `to_stride` from row to row.
TARGET void attend(const Head &head, Product product, Scratch &scratch, const BFloat16 *query,
                   const BFloat16 *key, const BFloat16 *value, BFloat16 *to, int64_t to_stride) {
  pack_keys(head, key, scratch.keys.data());
  pack_values(head, value, scratch.values.data());
  for (int64_t row = 0; row < head.tokens; row += BLOCK) {
    const int64_t count = std::min(BLOCK, head.tokens - row);
    const BFloat16 *block = query + row * head.stride;
    int64_t stride = head.stride;
    if (count < BLOCK) { // Memory ends with the last token; what lies in the other rows does not matter.
      for (int64_t i = 0; i < count; i++)
        std::memcpy(&scratch.queries[i * head.width], block + i * stride, head.width * 2);
      block = scratch.queries.data();
      stride = head.width;
    }
    product(block, stride, scratch.keys.data(), head.width, head.keys, scratch.scores.data());
    softmax(head, scratch.scores.data(), scratch.powers.data(), scratch.inverse.data());
    product(scratch.powers.data(), head.keys, scratch.values.data(), head.keys, head.width,
            scratch.mixed.data());
    write(scratch.mixed.data(), scratch.inverse.data(), count, head.width, to + row * to_stride,
          to_stride);
  }
}

TARGET_TILES void load_tiles() { _tile_loadconfig(&TILES); }

TARGET_TILES void release_tiles() { _tile_release(); }

// Linux gives a process the tiles' registers only where it asks.
bool may_use_tiles() {
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

} // namespace

extern "C" {

// What processor and operating system can do: 0 nothing of this, 1 the products by vectors, 2 those by tiles, too.
int saga_attention_available() {
  static const bool vectors = __builtin_cpu_supports("avx512bf16") &&
                              __builtin_cpu_supports("avx512bw") &&
                              __builtin_cpu_supports("avx512dq") &&
                              __builtin_cpu_supports("avx512vl");
  static const bool tiles = vectors && __builtin_cpu_supports("amx-bf16") && may_use_tiles();
  return vectors + tiles;
}

// [N, tokens, 3 width] of bf16, contiguous, to [N, tokens, width], by tiles or by vectors.
at::Tensor *saga_attention_forward(const at::Tensor *qkv, int64_t heads, bool tiles, char **error) {
  return answer(error, [&] {
    const int64_t images = qkv->size(0), tokens = qkv->size(1), width = qkv->size(2) / 3;
    at::Tensor mixed = at::empty({images, tokens, width}, qkv->options());
    const Head head{tokens, (tokens + BLOCK - 1) / BLOCK * BLOCK, width / heads, 3 * width};
    const BFloat16 *from = qkv->const_data_ptr<BFloat16>();
    BFloat16 *to = mixed.data_ptr<BFloat16>();
    at::parallel_for(0, images * heads, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(head);
      if (tiles)
        load_tiles();
      for (int64_t i = begin; i < end; i++) {
        const int64_t image = i / heads, column = i % heads * head.width;
        const BFloat16 *query = from + image * tokens * head.stride + column;
        attend(head, tiles ? product_by_tiles : product_by_vectors, scratch, query, query + width, query + 2 * width,
               to + image * tokens * width + column, width);
      }
      if (tiles)
        release_tiles();
    });
    return mixed;
  });
}
}

#else

extern "C" {

int saga_attention_available() { return 0; }

at::Tensor *saga_attention_forward(const at::Tensor *, int64_t, bool, char **error) {
  return answer(error, []() -> at::Tensor { throw std::runtime_error("no AVX-512 here"); });
}
}

#endif
