// What happens to one token, or to one head of one sequence, between the matrix products.
#pragma once

#include "linear.h"
#include "program.h"
#include "simd.h"

namespace fulmen {

// out = in * factor * weight, [* sigmoid(gate)], with factor = 1 / sqrt(mean of squares + eps).
inline void norm_row(const float* in, const Matrix& weight, const float* gate, float eps, float* out) {
    const int64_t width = weight.cols;
    const float factor = 1.0f / std::sqrt(dot(in, in, width) / float(width) + eps);
    auto scale_by = [&](const auto* w) {
        for (int64_t i = 0; i < width; i += W) {
            vf x = load(in + i) * factor * load_upto(w + i, width - i);  // rows are padded to whole vectors
            if (gate) x *= sigmoid(load(gate + i));
            store_upto(out + i, x, width - i);
        }
    };
    if (weight.type == kBFloat16) {
        scale_by(static_cast<const bf16*>(weight.data));
    } else {
        scale_by(static_cast<const float*>(weight.data));
    }
}

inline float dot_row(const float* x, const Matrix& weight, int64_t row) {
    const int64_t offset = row * weight.cols;
    if (weight.type == kFloat32) return dot(x, static_cast<const float*>(weight.data) + offset, weight.cols);
    return dot(x, static_cast<const bf16*>(weight.data) + offset, weight.cols);
}

// One head of lightning attention over `tokens` tokens: state = decay * state + k^T v, out = q state; the state is
// read and written once per token, a strip of columns at a time. qkv points at this head's q of the first token.
inline void lightning_head(const float* qkv, int64_t qkv_stride, float decay, int64_t dim, int64_t tokens, float* state,
                           float* out, int64_t out_stride) {
    for (int64_t t = 0; t < tokens; t++) {
        const float *q = qkv + t * qkv_stride, *k = q + dim, *v = k + dim;
        for (int64_t column = 0; column < dim; column += 4 * W) {
            const int64_t left = dim - column;
            if (left >= 4 * W) {
                vf value[4], total[4] = {};
                for (int i = 0; i < 4; i++) value[i] = load(v + column + i * W);
                for (int64_t row = 0; row < dim; row++) {
                    float* s = state + row * dim + column;
                    for (int i = 0; i < 4; i++) {
                        const vf now = load(s + i * W) * decay + k[row] * value[i];
                        store(s + i * W, now);
                        total[i] += q[row] * now;
                    }
                }
                for (int i = 0; i < 4; i++) store(out + t * out_stride + column + i * W, total[i]);
                continue;
            }
            for (int64_t e = 0; e < left; e += W) {
                const int64_t n = left - e;
                const vf value = load_upto(v + column + e, n);
                vf total = {};
                for (int64_t row = 0; row < dim; row++) {
                    float* s = state + row * dim + column + e;
                    const vf now = load_upto(s, n) * decay + k[row] * value;
                    store_upto(s, now, n);
                    total += q[row] * now;
                }
                store_upto(out + t * out_stride + column + e, total, n);
            }
        }
    }
}

// Rotates the first 2 * half of head_dim dimensions of each head, pairing i with i + half.
inline void rotate_row(float* x, int64_t heads, int64_t dim, int64_t half, const float* cosine, const float* sine) {
    for (int64_t h = 0; h < heads; h++, x += dim) {
        for (int64_t i = 0; i < half; i++) {
            const float first = x[i], second = x[i + half];
            x[i] = first * cosine[i] - second * sine[i];
            x[i + half] = second * cosine[i] + first * sine[i];
        }
    }
}

// The K most probable experts of one token, by a softmax over all, and their weights renormalised to sum 1.
inline void choose_experts(const float* x, const Matrix& gate, int64_t count, float* probabilities, int64_t* ids,
                           float* weights) {
    float most = -INFINITY, total = 0;
    for (int64_t e = 0; e < gate.rows; e++) {
        probabilities[e] = dot_row(x, gate, e);
        most = std::fmax(most, probabilities[e]);
    }
    for (int64_t e = 0; e < gate.rows; e++) probabilities[e] = std::exp(probabilities[e] - most);
    for (int64_t k = 0; k < count; k++) {
        int64_t best = 0;
        for (int64_t e = 1; e < gate.rows; e++) best = probabilities[e] > probabilities[best] ? e : best;
        ids[k] = best, weights[k] = probabilities[best];
        total += probabilities[best];
        probabilities[best] = -1;
    }
    for (int64_t k = 0; k < count; k++) weights[k] /= total;
}

}  // namespace fulmen
