// The operations on single tokens: embedding, norms, rotary embedding, the router and the experts' weighted sum.

#include "runner.h"

namespace fulmen {

void Program::token(const Operation& op, int64_t t) {
    switch (op.kind) {
        case kEmbed:
            return embed(op, t);
        case kNorm:
            norm_row(buffers_[op.in][t], op.weight, nullptr, op.eps, buffers_[op.out][t]);
            return;
        case kGatedNorm:
            norm_row(buffers_[op.in][t], op.weight, buffers_[op.aux][t], op.eps, buffers_[op.out][t]);
            return;
        case kRotary:
            return rotate_and_append(op, t);
        case kRouter: {
            const int64_t count = shape_.experts_per_token;
            choose_experts(buffers_[op.in][t], op.weight, count, probabilities_[t], &expert_ids_[t * count],
                           expert_weights_[t]);
            return;
        }
        case kShare:
            shares_[t] = 1.0f / (1.0f + std::exp(-dot_row(buffers_[op.in][t], op.weight, 0)));
            return;
        case kCombine:
            return combine(op, t);
    }
}

// Also the token's rotary angles, which all layers share.
void Program::embed(const Operation& op, int64_t t) {
    read_row(op.weight, step_.tokens[t], buffers_[op.out][t]);
    for (int64_t i = 0; i < shape_.rotary_half; i++) {
        const double angle = double(step_.positions[t]) * double(frequencies_[i]);
        cosine_[t][i] = float(std::cos(angle));
        sine_[t][i] = float(std::sin(angle));
    }
}

template <class E>
static void append(const float* x, int64_t width, void* cache, int64_t row) {
    E* out = static_cast<E*>(cache) + row * width;
    for (int64_t i = 0; i < width; i++) narrow(x[i], out + i);
}

void Program::rotate_and_append(const Operation& op, int64_t t) {
    const int64_t dim = shape_.head_dim, half = shape_.rotary_half, width = shape_.kv_heads * dim;
    float *q = buffers_[op.in][t], *k = buffers_[op.aux][t], *v = buffers_[op.other][t];
    rotate_row(q, shape_.heads, dim, half, cosine_[t], sine_[t]);
    rotate_row(k, shape_.kv_heads, dim, half, cosine_[t], sine_[t]);
    const float scale = 1.0f / std::sqrt(float(dim));
    for (int64_t i = 0; i < shape_.heads * dim; i++) q[i] *= scale;

    int64_t sequence = 0;
    while (step_.starts[sequence + 1] <= t) sequence++;
    const int64_t page = step_.block_table[sequence * step_.table_width + step_.positions[t] / step_.page_size];
    const int64_t row = (op.layer * step_.num_pages + page) * step_.page_size + step_.positions[t] % step_.page_size;
    if (step_.cache_type == kBFloat16) {
        append<bf16>(k, width, step_.keys, row);
        append<bf16>(v, width, step_.values, row);
    } else {
        append<float>(k, width, step_.keys, row);
        append<float>(v, width, step_.values, row);
    }
}

void Program::combine(const Operation& op, int64_t t) {
    const int64_t width = widths_[op.out], count = shape_.experts_per_token;
    const float *residual = buffers_[op.aux][t], *weights = expert_weights_[t];
    float* out = buffers_[op.out][t];
    for (int64_t i = 0; i < width; i += W) {  // rows are padded to whole vectors
        vf total = {};
        for (int64_t k = 0; k < count; k++) total += load(buffers_[op.in][t * count + k] + i) * weights[k];
        if (op.other >= 0) total += (load(buffers_[op.other][t] + i) - total) * shares_[t];
        store_upto(out + i, load(residual + i) * op.alpha + total * op.beta, width - i);
    }
}

}  // namespace fulmen
