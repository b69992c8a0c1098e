// What forward and backward of packed attention share: their arguments, and how matrices of tokens become factors of
// products.
//
// A product's factors are cells of 32 bits. For float32 a cell is one element; for bfloat16, on CPUs that multiply
// pairs, it is two that are neighbours in the product's depth, and elsewhere one that was widened. So there are two
// forms of a matrix of tokens: `pack_rows` gives the factor whose depth are the dimensions, and `pack_depth` the one
// whose depth are the tokens. In float32 both are the same.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "program.h"
#include "rows.h"
#include "threads.h"
#include "tile.h"

namespace fulmen {

// Elements [tokens, heads, dim]; the strides of tokens and heads count elements, dimensions lie side by side.
struct TokenHeads {
    void* data;
    int64_t token, head;

    template <class E>
    E* at(int64_t t, int64_t h) const {
        return static_cast<E*>(data) + t * token + h * head;
    }
};

struct PackedAttention {
    TokenHeads q, k, v, out;
    TokenHeads d_out, d_q, d_k, d_v;  // for the backward
    float* log_sums;                  // [tokens, heads]: log2 of each query's sum of exponentials; null if not wanted
    const int64_t* bounds;            // [sequences + 1]: sequence s has the tokens bounds[s]..bounds[s + 1] - 1
    const int64_t* key_bounds;        // the same of keys and values, of which each query sees all but those after its own
    int64_t sequences, heads, kv_heads, dim, type;
};

template <class E>
using Cell = std::conditional_t<std::is_same_v<E, bf16> && kPairProducts, Pair, float>;
// The exponential is of base 2, its factor is part of the scores' scale.
inline float score_scale(int64_t dim) { return float(1.4426950408889634 / std::sqrt(double(dim))); }

// [rows / kDepth, dim]: the same rows, those of a cell side by side.
template <class E, class C>
inline void pack_depth(const E* x, int64_t stride, int64_t count, int64_t rows, int64_t dim, C* out) {
    if constexpr (std::is_same_v<C, Pair>) {
        const std::vector<E> zeros(dim);
        for (int64_t r = 0; r < rows; r += 2, x += 2 * stride, out += dim) {
            const E* first = r < count ? x : zeros.data();
            const E* second = r + 1 < count ? x + stride : zeros.data();
            for (int64_t d = 0; d < dim; d += W) store(out + d, pairs(first + d, second + d));
        }
    } else {
        pack_rows(x, stride, count, rows, dim, out);
    }
}

// Rows r and r + 1 of a matrix that will be a factor whose depth are its rows, into out[rows / kDepth, columns].
inline void store_depth(float* out, int64_t columns, int64_t r, vf first, vf second) {
    store(out + r * columns, first);
    store(out + (r + 1) * columns, second);
}
inline void store_depth(Pair* out, int64_t columns, int64_t r, vf first, vf second) {
    store(out + r / 2 * columns, pairs(first, second));
}

// W neighbours in a row of a matrix that will be a factor whose depth are its columns.
inline void store_row(float* out, int64_t column, vf x) { store(out + column, x); }
inline void store_row(Pair* out, int64_t column, vf x) { store(reinterpret_cast<bf16*>(out) + column, x); }

// Lanes whose number is less than n.
inline vi lanes_below(int64_t n) {
    int32_t numbers[W];
    for (int i = 0; i < W; i++) numbers[i] = i;
    vi lane;
    std::memcpy(&lane, numbers, sizeof lane);
    return lane < int32_t(n);
}

// Attention<E> for the elements' type, its `run` called once by each thread.
template <class Attention>
inline void run_attention_of(const PackedAttention& a, int64_t threads, OpenMP openmp) {
    Attention attention(a);
    on_threads(openmp, threads, [&] { attention.run(); });
}
template <template <class> class Attention>
inline void run_attention(const PackedAttention& a, int64_t threads, OpenMP openmp) {
    auto run = a.type == kBFloat16 ? run_attention_of<Attention<bf16>> : run_attention_of<Attention<float>>;
    run(a, threads, openmp);
}

}  // namespace fulmen
