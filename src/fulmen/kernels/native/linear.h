// Products of weight rows with tokens: where nearly all time of a step goes.
//
// One token reads each weight once and is bound by memory; 16 tokens are bound by arithmetic. Both are served by tiles
// of dot products, R rows by N tokens, that keep R * N vector sums in registers. Each output is one sum over the columns in one
// order, whatever the tile, so a token's result does not depend on the others. int8 and bfloat16 weights become
// float32 in registers; with many tokens a few rows are widened into the first-level cache once instead. Where the CPU
// multiplies bytes, int8 weights stay as they are, and the tokens are written in fixed point (fixed_point.h).
#pragma once

#include <algorithm>
#include <vector>

#include "fixed_point.h"
#include "program.h"
#include "simd.h"

namespace fulmen {

constexpr int kMostTokens = kRegisters == 32 ? 6 : 3;  // tokens of a tile with four rows
constexpr int kChunk = 64;                             // most rows that are handed to a thread at once
constexpr int64_t kAhead = 16384;                      // bytes between a weight that is used and the one fetched

// out[n * out_stride + r] = w[r] . x[n], for R (a multiple of 4) rows of length cols and N tokens. Tokens are padded
// with zeros to whole vectors; weights are not. L lines of 64 bytes from `ahead` on are fetched into the second-level
// cache with each line of the rows: short rows end before the hardware notices a pattern, but in this order it sees one.
template <class E, int R, int N, int L>
inline void dot_tile(const E* const* w, const float* const* x, int64_t cols, float* out, int64_t out_stride,
                     const char* ahead) {
    constexpr int64_t kLine = 64 / sizeof(E) > W ? 64 / sizeof(E) : W;
    vf total[R][N] = {};
    auto advance = [&](int64_t i) {
        vf token[N];
        for (int n = 0; n < N; n++) token[n] = load(x[n] + i);
        for (int r = 0; r < R; r++) {
            const vf weight = load(w[r] + i);
            for (int n = 0; n < N; n++) total[r][n] += weight * token[n];
        }
    };
    int64_t i = 0;
    for (; i + kLine <= cols; i += kLine) {
        for (int line = 0; line < L; line++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        for (int64_t j = i; j < i + kLine; j += W) advance(j);
    }
    for (; i + W <= cols; i += W) advance(i);
    if (i < cols) {
        for (int r = 0; r < R; r++) {
            const vf weight = load_first(w[r] + i, cols - i);
            for (int n = 0; n < N; n++) total[r][n] += weight * load(x[n] + i);
        }
    }
    for (int n = 0; n < N; n++) {
        for (int r = 0; r < R; r += 4) {
            sum4(total[r][n], total[r + 1][n], total[r + 2][n], total[r + 3][n], out + n * out_stride + r);
        }
    }
}

template <class E, int N, int L>
inline void dot_upto(const E* const* w, const float* const* x, int count, int64_t cols, float* out, int64_t stride,
                     const char* ahead) {
    if (count == N) {
        dot_tile<E, 4, N, L>(w, x, cols, out, stride, ahead);
    } else if constexpr (N > 1) {
        dot_upto<E, N - 1, L>(w, x, count, cols, out, stride, ahead);
    }
}

// Four rows by any number of tokens, in tiles of at most kMostTokens, of which the first fetches ahead.
template <class E, int L>
inline void dot_four(const E* const* w, const float* const* x, int64_t tokens, int64_t cols, float* out, int64_t stride,
                     const char* ahead) {
    for (int64_t t = 0; t < tokens;) {
        const int64_t left = tokens - t;
        const int count = int(left == kMostTokens + 1 ? (left + 1) / 2 : left < kMostTokens ? left : kMostTokens);
        if (t == 0) {
            dot_upto<E, kMostTokens, L>(w, x, count, cols, out, stride, ahead);
        } else {
            dot_upto<E, kMostTokens, 0>(w, x + t, count, cols, out + t * stride, stride, nullptr);
        }
        t += count;
    }
}

template <class E>
inline void widen_row(const E* row, int64_t cols, float* out) {
    int64_t i = 0;
    for (; i + W <= cols; i += W) store(out + i, load(row + i));
    for (; i < cols; i++) out[i] = widen(row[i]);
}

// A piece of a matrix: rows first..first + count - 1, of which other threads may take the pieces that follow.
struct Piece {
    int64_t first, count;
    int64_t threads;  // that share the matrix

    // What to fetch while row r is read: rows of this piece, then of the thread's next one, which probably lies behind
    // a piece for each of the others. To fetch theirs would read them twice.
    template <class E>
    const char* ahead(const E* row, int64_t r, int64_t cols) const {
        const int64_t bytes = cols * sizeof(E), others = (threads - 1) * count * bytes;
        return reinterpret_cast<const char*>(row) + kAhead + (r * bytes + kAhead < count * bytes ? 0 : others);
    }
};

// out[t * kChunk + r] = row r of the piece . x[t], unscaled, for r < count <= kChunk (rounded up to a multiple of 8:
// what lies behind count is no result). `wide` holds 4 rows of float32.
template <class E>
void multiply(const E* data, int64_t cols, const Piece& piece, const float* const* x, int64_t tokens, float* out,
              float* wide) {
    const int64_t first = piece.first, count = piece.count;
    const int64_t tile = tokens == 1 ? 8 : 4;
    for (int64_t r = 0; r < count; r += tile) {
        const E* rows[8];
        for (int64_t i = 0; i < tile; i++) rows[i] = data + (first + (r + i < count ? r + i : count - 1)) * cols;
        const char* ahead = piece.ahead(rows[0], r, cols);
        if (tokens == 1) {
            dot_tile<E, 8, 1, 8>(rows, x, cols, out + r, kChunk, ahead);
        } else if (tokens <= kMostTokens || sizeof(E) == sizeof(float)) {
            dot_four<E, 4>(rows, x, tokens, cols, out + r, kChunk, ahead);
        } else {
            const float* widened[4];
            for (int i = 0; i < 4; i++) {
                widen_row(rows[i], cols, wide + i * cols);
                widened[i] = wide + i * cols;
            }
            dot_four<float, int(sizeof(E))>(widened, x, tokens, cols, out + r, kChunk, ahead);
        }
    }
}

// out[r] = w[r] . x for R (a multiple of 4) rows and one token in fixed point. Fetches like dot_tile.
template <int R, bool Fetch>
inline void fixed_tile(const int8_t* const* w, const FixedToken& x, int64_t cols, float* out, const char* ahead) {
    vi total[R][kDigits] = {};
    const Digits* token = x.columns;
    int64_t i = 0;
    for (; i + kColumns <= cols; i += kColumns, token++) {
        for (int line = 0; Fetch && line < R * kColumns / 64; line++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        for (int r = 0; r < R; r++) add_products(total[r], w[r] + i, *token);
    }
    if (i < cols) {
        int8_t last[R][kColumns] = {};
        for (int r = 0; r < R; r++) std::memcpy(last[r], w[r] + i, cols - i);
        for (int r = 0; r < R; r++) add_products(total[r], last[r], *token);
    }
    for (int r = 0; r < R; r += 4) {
        sum4(value(total[r], x), value(total[r + 1], x), value(total[r + 2], x), value(total[r + 3], x), out + r);
    }
}

// Like the typed form, with tokens in fixed point. The first token waits for memory, which four rows at a time read
// best; the others find the rows in the first-level cache and wait for sums, of which eight rows keep enough under way.
inline void multiply(const int8_t* data, int64_t cols, const Piece& piece, const std::vector<FixedToken>& x,
                     float* out) {
    constexpr int R = kRegisters == 32 ? 8 : 4;
    if (x.empty()) return;  // no logits were wanted
    for (int64_t r = 0; r < piece.count; r += R) {
        const int8_t* rows[R];
        for (int64_t i = 0; i < R; i++) rows[i] = data + (piece.first + std::min(r + i, piece.count - 1)) * cols;
        for (int64_t i = 0; i < R; i += 4) {
            fixed_tile<4, true>(rows + i, x[0], cols, out + r + i, piece.ahead(rows[i], r + i, cols));
        }
        for (size_t t = 1; t < x.size(); t++) {
            fixed_tile<R, false>(rows, x[t], cols, out + t * kChunk + r, nullptr);
        }
    }
}

// The tokens that a product reads, in the form that its matrix asks for.
struct Inputs {
    std::vector<const float*> rows;
    FixedPoint fixed;

    void prepare(const Matrix& matrix) {
        if (!in_fixed_point(matrix)) return;
        fixed.resize(rows.size(), matrix.cols);
        for (size_t t = 0; t < rows.size(); t++) fixed.write(t, rows[t]);
    }
};

// Like the typed form, and scaled: out[t * kChunk + r] = (matrix x[t])[first + r].
inline void multiply(const Matrix& matrix, const Piece& piece, const Inputs& inputs, float* out, float* wide) {
    const float* const* x = inputs.rows.data();
    const int64_t tokens = int64_t(inputs.rows.size()), cols = matrix.cols;
    if (matrix.type == kFloat32) {
        multiply(static_cast<const float*>(matrix.data), cols, piece, x, tokens, out, wide);
    } else if (matrix.type == kBFloat16) {
        multiply(static_cast<const bf16*>(matrix.data), cols, piece, x, tokens, out, wide);
    } else {
        const int8_t* data = static_cast<const int8_t*>(matrix.data);
        if (in_fixed_point(matrix)) {
            multiply(data, cols, piece, inputs.fixed.tokens(), out);
        } else {
            multiply(data, cols, piece, x, tokens, out, wide);
        }
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t r = 0; r < piece.count; r++) out[t * kChunk + r] *= matrix.scale[piece.first + r];
        }
    }
}

// One row of a matrix as float32.
inline void read_row(const Matrix& matrix, int64_t row, float* out) {
    const int64_t offset = row * matrix.cols;
    if (matrix.type == kFloat32) {
        std::memcpy(out, static_cast<const float*>(matrix.data) + offset, matrix.cols * sizeof(float));
    } else if (matrix.type == kBFloat16) {
        widen_row(static_cast<const bf16*>(matrix.data) + offset, matrix.cols, out);
    } else {
        widen_row(static_cast<const int8_t*>(matrix.data) + offset, matrix.cols, out);
        for (int64_t i = 0; i < matrix.cols; i++) out[i] *= matrix.scale[row];
    }
}

// Rows handed to a thread at once: about 64 KB of weights, and several pieces for each thread to even out their pace.
inline int64_t chunk_rows(const Matrix& matrix, int64_t rows, int threads) {
    const int64_t bytes = matrix.cols * (matrix.type == kFloat32 ? 4 : matrix.type == kBFloat16 ? 2 : 1);
    int64_t fair = rows / (4 * threads), size = 65536 / bytes;
    int64_t chunk = fair < size ? fair : size;
    return chunk >= kChunk ? kChunk : chunk < 8 ? 8 : chunk / 8 * 8;
}

}  // namespace fulmen
