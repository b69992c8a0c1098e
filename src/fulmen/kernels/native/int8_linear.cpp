// Products of int8 weights with many tokens: a prefill's, bound by arithmetic where a step is bound by memory.
//
// Tokens are in fixed point (fixed_point.h), so no weight is widened and every sum of bytes is exact. A thread packs
// the weights of some rows so that each lane holds four columns of one row, and all tokens pass while this panel lies
// in its caches; a tile of two tokens, three digits each, loads a weight once for six products.

#include <algorithm>
#include <atomic>
#include <vector>

#include "fixed_point.h"
#include "threads.h"

namespace fulmen {

constexpr int kPanel = kRegisters == 32 ? 4 : 2;  // vectors of rows of which a tile of two tokens keeps sums
constexpr int64_t kPanelRows = kPanel * W;
constexpr int64_t kTokenBlock = 512;      // tokens that pass a panel at most: they shall stay in the cache, too
constexpr int64_t kTokensAtOnce = 16;     // that a thread writes in fixed point before it takes others
constexpr int64_t kMostSummed = 1 << 16;  // columns whose products of bytes one lane can sum

struct Int8Product {
    Matrix matrix;
    const float* x;  // [tokens, cols], rows x_stride apart
    float* out;      // [tokens, rows]
    int64_t tokens, x_stride;
};

// panel[c * kPanel + v] = columns 4 c..4 c + 3 of the v-th W rows, 128 more in each byte. What lies behind the last
// column meets digits that are zero, and what lies behind the last row is no result.
inline void pack(const int8_t* weight, int64_t rows, int64_t cols, vi* panel) {
    int32_t* out = reinterpret_cast<int32_t*>(panel);
    for (int64_t r = 0; r < kPanelRows; r++, out++) {
        const int8_t* row = weight + std::min(r, rows - 1) * cols;
        int64_t i = 0;
        int32_t four = 0;
        for (; i + 4 <= cols; i += 4) {
            std::memcpy(&four, row + i, 4);
            out[i / 4 * kPanelRows] = four ^ int32_t(0x80808080);
        }
        std::memcpy(&four, row + i, cols - i);
        if (i < cols) out[i / 4 * kPanelRows] = four ^ int32_t(0x80808080);
    }
}

// out[t * stride + r] = the panel's row r . token t, scaled, for T tokens and r < count <= kPanelRows.
template <int T>
inline void panel_tile(const vi* panel, const FixedToken* tokens, int64_t cols, const float* scale, int64_t count,
                       float* out, int64_t stride) {
    vi total[T][kDigits][kPanel] = {};
    for (int64_t i = 0, block = 0; i < cols; i += kColumns, block++) {
        const int32_t* digits[T];  // [kDigits, W]: four columns each
        for (int t = 0; t < T; t++) digits[t] = reinterpret_cast<const int32_t*>(tokens[t].columns + block);
        for (int j = 0; j < W; j++, panel += kPanel) {
            for (int t = 0; t < T; t++) {
                for (int d = 0; d < kDigits; d++) {
                    const vi four = vi{} + digits[t][d * W + j];
                    for (int v = 0; v < kPanel; v++) total[t][d][v] = add_byte_products(total[t][d][v], panel[v], four);
                }
            }
        }
    }
    for (int t = 0; t < T; t++) {
        int32_t excess[kDigits] = {};
        for (int d = 0; d < kDigits; d++) {
            for (int lane = 0; lane < W; lane++) excess[d] += tokens[t].excess[d][lane];
        }
        for (int64_t r = 0, v = 0; r < count; r += W, v++) {
            vf result = {};
            for (int d = kDigits - 1; d >= 0; d--) {
                result = result * 256.0f + __builtin_convertvector(total[t][d][v] - excess[d], vf);
            }
            result *= tokens[t].step * load_upto(scale + r, count - r);
            store_upto(out + t * stride + r, result, count - r);
        }
    }
}

class Int8Linear {
   public:
    explicit Int8Linear(const Int8Product& product) : p_(product) { fixed_.resize(p_.tokens, p_.matrix.cols); }

    // Both are called once by each thread, the second when all have come back from the first.
    void write_tokens() {
        for (int64_t first; (first = next_.fetch_add(kTokensAtOnce)) < p_.tokens;) {
            const int64_t end = std::min(first + kTokensAtOnce, p_.tokens);
            for (int64_t t = first; t < end; t++) fixed_.write(t, p_.x + t * p_.x_stride);
        }
    }

    void multiply(int64_t threads) {
        const Matrix& matrix = p_.matrix;
        // Pieces of panels and tokens, several for each thread to even out their pace.
        const int64_t panels = (matrix.rows + kPanelRows - 1) / kPanelRows;
        const int64_t blocks =
            std::max((p_.tokens + kTokenBlock - 1) / kTokenBlock, (4 * threads + panels - 1) / panels);
        const int64_t block = round_up((p_.tokens + blocks - 1) / blocks, 2);
        std::vector<vi> panel(fixed_.blocks() * W * kPanel);
        for (int64_t i; (i = next_piece_.fetch_add(1)) < panels * blocks;) {
            const int64_t row = i / blocks * kPanelRows, count = std::min(kPanelRows, matrix.rows - row);
            const int64_t first = i % blocks * block, end = std::min(first + block, p_.tokens);
            if (first >= end) continue;
            pack(static_cast<const int8_t*>(matrix.data) + row * matrix.cols, count, matrix.cols, panel.data());
            for (int64_t t = first; t < end; t += 2) {
                auto tile = t + 1 < end ? panel_tile<2> : panel_tile<1>;
                tile(panel.data(), &fixed_.tokens()[t], matrix.cols, matrix.scale + row, count,
                     p_.out + t * matrix.rows + row, matrix.rows);
            }
        }
    }

   private:
    Int8Product p_;
    FixedPoint fixed_;
    std::atomic<int64_t> next_{0}, next_piece_{0};
};

}  // namespace fulmen

extern "C" {

// The most columns of a matrix that fulmen_int8_linear takes; 0 where the CPU has no products of bytes.
int64_t fulmen_int8_columns() { return fulmen::kByteProducts ? fulmen::kMostSummed : 0; }

void fulmen_int8_linear(const fulmen::Int8Product* product, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::Int8Linear linear(*product);
    fulmen::on_threads(openmp, threads, [&] { linear.write_tokens(); });
    fulmen::on_threads(openmp, threads, [&] { linear.multiply(threads); });
}
}
