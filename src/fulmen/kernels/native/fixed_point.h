// Tokens in fixed point, for products with int8 weights on CPUs that multiply and add bytes in one instruction.
//
// Each element is a whole number of steps, of which the token's largest takes almost 2^23, in three signed bytes. Three
// instructions then serve four columns in every lane, where float32 takes an extension, a conversion and an addition
// for each. The sums in a lane are exact; an element is off by about 2^-23 of the token's largest at most, so a dot
// product errs as much as float32 sums of it do.
#pragma once

#include <vector>

#include "program.h"
#include "simd.h"

namespace fulmen {

constexpr int kDigits = 3;
constexpr float kMostSteps = 0x7f7f00;       // three digits of 127 are 0x7f7f7f: the rest is room for rounding
constexpr float kLeastLargest = 1e-30f;      // a smaller token takes the steps of this: 1 / step stays finite
constexpr int64_t kColumns = 4 * W;          // bytes of a vector
constexpr int64_t kMostColumns = 65536 * W;  // the sum of 65536 products of bytes fits a lane

// Whether products with a matrix take tokens in fixed point; otherwise the weights are widened.
inline bool in_fixed_point(const Matrix& matrix) {
    return kByteProducts && matrix.type == kInt8 && matrix.cols <= kMostColumns;
}

// Signed bytes of kColumns columns, lowest digit first.
struct Digits {
    vi of[kDigits];
};

// One token in fixed point.
struct FixedToken {
    const Digits* columns;  // [blocks of kColumns]
    vi excess[kDigits];     // what the sums of add_products hold too much
    float step;
};

// total += weights * token, per digit. The instruction wants one side unsigned, so it sees 128 more in each weight.
inline void add_products(vi* total, const int8_t* weights, const Digits& token) {
    const vi shifted = load_bytes(weights) ^ int32_t(0x80808080);
    for (int d = 0; d < kDigits; d++) total[d] = add_byte_products(total[d], shifted, token.of[d]);
}

// The sums of add_products over all columns as one number in each lane.
inline vf value(const vi* total, const FixedToken& token) {
    vf result = {};
    for (int d = kDigits - 1; d >= 0; d--) {
        result = result * 256.0f + __builtin_convertvector(total[d] - token.excess[d], vf);
    }
    return result * token.step;
}

// The largest |x[i]|; infinity and NaN are larger than all others, as their bits are.
inline float largest_of(const float* x, int64_t n) {
    vi most = {};
    for (int64_t i = 0; i < n; i += W) {
        const vi bits = vi(load_upto(x + i, n - i)) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    int32_t bits = 0;
    for (int lane = 0; lane < W; lane++) bits = most[lane] > bits ? most[lane] : bits;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// x[i] * per_step, rounded, as digits for n <= kColumns elements; zeros behind them.
inline Digits split(const float* x, int64_t n, float per_step) {
    int8_t bytes[kDigits][kColumns] = {};
    for (int64_t i = 0; i < n; i += W) {
        const vf scaled = load_upto(x + i, n - i) * per_step;
        const vi steps = __builtin_convertvector(scaled + (scaled < 0.0f ? splat(-0.5f) : splat(0.5f)), vi);
        // 128 more in each digit makes all unsigned, and taking it away is no carry but a flip of the highest bit.
        const vi digits = (steps + 0x808080) ^ 0x808080;
        for (int d = 0; d < kDigits; d++) store_low_bytes(bytes[d] + i, digits >> 8 * d);
    }
    Digits result;
    for (int d = 0; d < kDigits; d++) result.of[d] = load_bytes(bytes[d]);
    return result;
}

class FixedPoint {
   public:
    // Room for tokens of `cols` elements, to be written one by one, by any threads.
    void resize(int64_t tokens, int64_t cols) {
        cols_ = cols;
        columns_.resize(tokens * blocks());
        tokens_.resize(tokens);
    }
    void write(int64_t token, const float* x) {
        tokens_[token] = write(x, cols_, columns_.data() + token * blocks());
    }
    int64_t blocks() const { return (cols_ + kColumns - 1) / kColumns; }
    const std::vector<FixedToken>& tokens() const { return tokens_; }

   private:
    static FixedToken write(const float* x, int64_t cols, Digits* columns) {
        const float largest = largest_of(x, cols);
        FixedToken token{columns, {}, (largest < kLeastLargest ? kLeastLargest : largest) / kMostSteps};
        const float per_step = 1.0f / token.step;
        for (int64_t i = 0; i < cols; i += kColumns, columns++) {
            // A token that isn't finite has no digits: its step, infinite or NaN, makes NaN of every sum of zeros.
            const int64_t n = cols - i < kColumns ? cols - i : kColumns;
            *columns = std::isfinite(largest) ? split(x + i, n, per_step) : Digits{};
            add_products(token.excess, kZeros, *columns);
        }
        return token;
    }

    static constexpr int8_t kZeros[kColumns] = {};
    int64_t cols_ = 0;
    std::vector<Digits> columns_;
    std::vector<FixedToken> tokens_;
};

}  // namespace fulmen
