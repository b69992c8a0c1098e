// Rows of tokens on their way into a thread's memory and back.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "simd.h"

namespace fulmen {

// Elements in a cell, of which the factors of products are made: a Pair holds two.
template <class C>
constexpr int64_t kDepth = std::is_same_v<C, Pair> ? 2 : 1;

// [rows, dim / kDepth]: `count` rows of x, which lie `stride` apart, and zeros behind them.
template <class E, class C>
inline void pack_rows(const E* x, int64_t stride, int64_t count, int64_t rows, int64_t dim, C* out) {
    const int64_t width = dim / kDepth<C>;
    for (int64_t r = 0; r < count; r++, x += stride, out += width) {
        if constexpr (std::is_same_v<C, Pair>) {
            std::memcpy(out, x, dim * sizeof(E));
        } else {
            for (int64_t d = 0; d < dim; d += W) store(out + d, load(x + d));
        }
    }
    std::fill(out, out + (rows - count) * width, C{});
}

// Rows of float32, times a factor, as rows of the output.
template <class E>
inline void write_rows(const float* x, int64_t count, int64_t dim, float factor, E* out, int64_t stride) {
    for (int64_t r = 0; r < count; r++, x += dim, out += stride) {
        for (int64_t d = 0; d < dim; d += W) store(out + d, load(x + d) * factor);
    }
}

// A thread's memory, in pieces that begin with a cache line.
class Workspace {
   public:
    explicit Workspace(int64_t cells) : lines_(cells / kLine + kMostPieces) {}

    template <class C>
    C* take(int64_t cells) {
        C* piece = reinterpret_cast<C*>(&lines_[used_]);
        used_ += (cells + kLine - 1) / kLine;
        return piece;
    }

   private:
    static constexpr int64_t kLine = 16, kMostPieces = 32;
    struct alignas(64) Line {
        float cells[kLine];
    };
    std::vector<Line> lines_;
    int64_t used_ = 0;
};

}  // namespace fulmen
