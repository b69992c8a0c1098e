// RMSNorm over rows and its gradient, one pass each.
#include <algorithm>
#include <vector>

#include "simd.h"
#include "threads.h"

namespace fulmen {

constexpr int64_t kNormRows = 64;  // that a thread takes at once, and whose gradients of the weight are summed first

struct Norm {
    int64_t rows, width;
    const float *x, *weight;  // [rows, width], [width]
    float* scale;             // [rows]: 1 / sqrt(mean(x^2) + eps), written by the forward and read by the backward
    float eps;
};

inline void norm_row(const Norm& n, int64_t row, float* out) {
    const float* x = n.x + row * n.width;
    const float scale = 1.0f / std::sqrt(dot(x, x, n.width) / float(n.width) + n.eps);
    n.scale[row] = scale;
    out += row * n.width;
    for (int64_t i = 0; i < n.width; i += W) {
        const int64_t left = n.width - i;
        store_upto(out + i, load_upto(x + i, left) * scale * load_upto(n.weight + i, left), left);
    }
}

// With r the row's scale and g = dy w: dx = r (g - x r^2 mean(g x)), and dw gains dy x r.
inline void norm_row_backward(const Norm& n, int64_t row, const float* d_out, float* d_x, float* d_weight) {
    const float *x = n.x + row * n.width, scale = n.scale[row];
    d_out += row * n.width, d_x += row * n.width;
    vf total = {};
    for (int64_t i = 0; i < n.width; i += W) {
        const int64_t left = n.width - i;
        const vf gradient = load_upto(d_out + i, left), value = load_upto(x + i, left);
        total += gradient * load_upto(n.weight + i, left) * value;
        store_upto(d_weight + i, load_upto(d_weight + i, left) + gradient * value * scale, left);
    }
    const float shared = scale * scale * sum(total) / float(n.width);
    for (int64_t i = 0; i < n.width; i += W) {
        const int64_t left = n.width - i;
        const vf gradient = load_upto(d_out + i, left) * load_upto(n.weight + i, left);
        store_upto(d_x + i, scale * (gradient - load_upto(x + i, left) * shared), left);
    }
}

}  // namespace fulmen

extern "C" {

void fulmen_norm(const fulmen::Norm* norm, float* out, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::on_blocks(openmp, threads, norm->rows, fulmen::kNormRows, [&](int64_t first, int64_t end, int64_t) {
        for (int64_t row = first; row < end; row++) fulmen::norm_row(*norm, row, out);
    });
}

// d_weight [width] is overwritten.
void fulmen_norm_backward(const fulmen::Norm* norm, const float* d_out, float* d_x, float* d_weight, int64_t threads,
                          fulmen::OpenMP openmp) {
    const int64_t width = norm->width, blocks = (norm->rows + fulmen::kNormRows - 1) / fulmen::kNormRows;
    std::vector<float> sums(blocks * width);
    fulmen::on_blocks(openmp, threads, norm->rows, fulmen::kNormRows, [&](int64_t first, int64_t end, int64_t block) {
        float* sum = sums.data() + block * width;
        for (int64_t row = first; row < end; row++) fulmen::norm_row_backward(*norm, row, d_out, d_x, sum);
    });
    std::fill(d_weight, d_weight + width, 0.0f);
    for (const float* sum = sums.data(); sum < sums.data() + blocks * width; sum += width) {
        for (int64_t i = 0; i < width; i++) d_weight[i] += sum[i];
    }
}
}
