// Products of small matrices that lie in a core's caches: chunks of a sequence, states, blocks of scores.
#pragma once

#include "simd.h"

namespace fulmen {

constexpr int kTileRows = kRegisters == 32 ? 8 : 4;
constexpr int64_t kRowStep = 8;  // what the rows of a product are a multiple of, whatever the CPU

// The left factor: element (i, k) lies at data[i * row + k * column], so a transposed matrix costs nothing. An element
// is a float or a Pair of bfloat16, of which a row of the right factor holds pairs, too.
template <class E>
struct LeftOf {
    const E* data;
    int64_t row, column;
};
using Left = LeftOf<float>;

enum class Into { kNothing, kSum };  // whether the product replaces what was there or is added to it

// Its sums stay in registers only if every loop over them is unrolled before the compiler decides where arrays live.
template <int R, int V, class E>
inline void tile(const E* a, int64_t row, int64_t column, const E* b, int64_t b_row, int64_t depth, float* out,
                 int64_t out_row, Into into) {
    vf total[R][V];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) total[i][v] = into == Into::kSum ? load(out + i * out_row + v * W) : vf{};
    }
    for (int64_t k = 0; k < depth; k++, a += column, b += b_row) {
        decltype(load(b)) right[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) right[v] = load(b + v * W);
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            const auto left = splat(a[i * row]);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) total[i][v] = add_products(total[i][v], left, right[v]);
        }
    }
    asm("" : "+r"(out_row));  // else the rows' addresses are computed before the loop and kept in vector registers
#pragma GCC unroll 8
    for (int i = 0; i < R; i++, out += out_row) {
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) store(out + v * W, total[i][v]);
    }
}

// out[rows, columns] = or += a[rows, depth] b[depth, columns]; rows a multiple of kRowStep, columns of W. Sums run over
// the depth in order, so that no result depends on the tiles.
template <class E>
inline void multiply(int64_t rows, int64_t columns, int64_t depth, LeftOf<E> a, const E* b, int64_t b_row, float* out,
                     int64_t out_row, Into into) {
    for (int64_t j = 0; j < columns;) {
        const bool two = j + 2 * W <= columns;
        for (int64_t i = 0; i < rows; i += kTileRows) {
            auto run = two ? tile<kTileRows, 2, E> : tile<kTileRows, 1, E>;
            run(a.data + i * a.row, a.row, a.column, b + j, b_row, depth, out + i * out_row + j, out_row, into);
        }
        j += two ? 2 * W : W;
    }
}

// The first half of the rows zipped with the second, log2(W) times over: that is the transpose.
template <class E>
inline void transpose_square(const E* x, int64_t x_row, E* out, int64_t out_row) {
    decltype(load(x)) rows[W], zipped[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) rows[i] = load(x + i * x_row);
#pragma GCC unroll 4
    for (int step = 1; step < W; step *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < W / 2; i++) {
            zipped[2 * i] = zip_low(rows[i], rows[i + W / 2]);
            zipped[2 * i + 1] = zip_high(rows[i], rows[i + W / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) rows[i] = zipped[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) store(out + i * out_row, rows[i]);
}

// out[columns, rows] of x[rows, columns], both row-major, rows and columns a multiple of kRowStep.
template <class E>
inline void transpose(const E* x, int64_t x_row, int64_t rows, int64_t columns, E* out, int64_t out_row) {
    const bool squares = rows % W == 0;
    const int64_t wide = squares ? columns / W * W : 0;
    for (int64_t i = 0; i < rows; i += squares ? W : kRowStep) {
        for (int64_t j = 0; j < wide; j += W) {
            transpose_square(x + i * x_row + j, x_row, out + j * out_row + i, out_row);
        }
        for (int64_t j = wide; j < columns; j++) {
            for (int64_t k = 0; k < (squares ? W : kRowStep); k++) out[j * out_row + i + k] = x[(i + k) * x_row + j];
        }
    }
}

}  // namespace fulmen
