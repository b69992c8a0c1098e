// Vectors of floats, W at a time: the only file that knows which instructions the CPU has.
//
// Everything above is written with the vector types of GCC and Clang, whose operators become AVX512, AVX2, NEON or
// plain SSE; intrinsics stand here for the few steps that compilers translate badly. Sums have one fixed order for a
// given W, so that a result never depends on how work was cut into tiles.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fulmen {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef uint32_t vu __attribute__((vector_size(4 * W)));

struct bf16 {
    uint16_t bits;
};

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline float widen(float x) { return x; }
inline float widen(int8_t x) { return float(x); }
inline float widen(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void narrow(float x, float* out) { *out = x; }
inline void narrow(float x, bf16* out) {  // to nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (x != x) {
        out->bits = uint16_t(bits >> 16 | 0x40);
    } else {
        out->bits = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

inline vf splat(float x) { return x - vf{}; }

inline vf load(const float* p) {
    vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }

inline vf load(const bf16* p) {
#if defined(__AVX512F__)
    __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return vf(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16)));
#elif defined(__AVX2__)
    __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return vf(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16)));
#else
    typedef uint16_t half __attribute__((vector_size(2 * W)));
    half raw;
    std::memcpy(&raw, p, sizeof raw);
    return vf(__builtin_convertvector(raw, vu) << 16);
#endif
}

inline vf load(const int8_t* p) {
#if defined(__AVX512F__)
    __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return vf(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(raw)));
#elif defined(__AVX2__)
    __m128i raw = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return vf(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(raw)));
#else
    typedef int8_t quarter __attribute__((vector_size(W)));
    quarter raw;
    std::memcpy(&raw, p, sizeof raw);
    return __builtin_convertvector(__builtin_convertvector(raw, vi), vf);
#endif
}

// The first n < W elements, zeros behind them.
template <class E>
inline vf load_first(const E* p, int64_t n) {
    float lanes[W] = {};
    for (int64_t i = 0; i < n; i++) lanes[i] = widen(p[i]);
    return load(lanes);
}

// 4 W bytes of int8, four in each lane.
inline vi load_bytes(const int8_t* p) {
    vi v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// The lowest byte of each lane.
inline void store_low_bytes(int8_t* p, vi v) {
    typedef int8_t quarter __attribute__((vector_size(W)));
    const quarter low = __builtin_convertvector(v, quarter);
    std::memcpy(p, &low, sizeof low);
}

// Each lane of total gains the products of its four unsigned bytes with its four signed ones.
#if defined(__AVX512VNNI__)
constexpr bool kByteProducts = true;
inline vi add_byte_products(vi total, vi unsigned_bytes, vi signed_bytes) {
    return vi(_mm512_dpbusd_epi32(__m512i(total), __m512i(unsigned_bytes), __m512i(signed_bytes)));
}
#elif defined(__AVXVNNI__)
constexpr bool kByteProducts = true;
inline vi add_byte_products(vi total, vi unsigned_bytes, vi signed_bytes) {
    return vi(_mm256_dpbusd_avx_epi32(__m256i(total), __m256i(unsigned_bytes), __m256i(signed_bytes)));
}
#else
constexpr bool kByteProducts = false;  // nothing calls the form below: float32 is faster
inline vi add_byte_products(vi total, vi unsigned_bytes, vi signed_bytes) {
    for (int shift = 0; shift < 32; shift += 8) {
        total += (unsigned_bytes >> shift & 0xff) * (signed_bytes << (24 - shift) >> 24);
    }
    return total;
}
#endif

// Two bfloat16 that meet in a product of matrices, one behind the other in its depth: a lane of 32 bits.
struct Pair {
    uint32_t bits;
};

inline vi load(const Pair* p) {
    vi v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(Pair* p, vi v) { std::memcpy(p, &v, sizeof v); }

inline vi splat(Pair x) { return vi{} + int32_t(x.bits); }

// Each lane of total gains left * right: of floats, or of both halves of pairs.
inline vf add_products(vf total, vf left, vf right) { return total + left * right; }

#if defined(__AVX512BF16__)
constexpr bool kPairProducts = true;
inline vf add_products(vf total, vi left, vi right) {
    return vf(_mm512_dpbf16_ps(__m512(total), __m512bh(left), __m512bh(right)));
}

// To the nearest bfloat16, ties to even: W of them.
inline void store(bf16* p, vf x) {
    const __m256i narrow = __m256i(_mm512_cvtneps_pbh(__m512(x)));
    std::memcpy(p, &narrow, sizeof narrow);
}

// The lanes of two vectors side by side: pairs of the first's and the second's.
inline vi pairs(vf first, vf second) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const __m512i both = __m512i(_mm512_cvtne2ps_pbh(__m512(second), __m512(first)));
    return vi(_mm512_permutexvar_epi16(__m512i(lane | (lane + W) << 16), both));
}
#else
constexpr bool kPairProducts = false;  // only `store` is called: products of float32 are faster
inline vf add_products(vf total, vi left, vi right) {
    const vf low = vf(left << 16) * vf(right << 16);
    return total + low + vf(left & int32_t(0xffff0000)) * vf(right & int32_t(0xffff0000));
}

// The nearest bfloat16, ties to even, in the low half of each lane; NaN stays NaN.
inline vu narrow_lanes(vf x) {
    const vu bits = vu(x);
    return x != x ? (bits >> 16 | 0x40) : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline void store(bf16* p, vf x) {
    typedef uint16_t half __attribute__((vector_size(2 * W)));
    const half narrow = __builtin_convertvector(narrow_lanes(x), half);
    std::memcpy(p, &narrow, sizeof narrow);
}

inline vi pairs(vf first, vf second) { return vi(narrow_lanes(first) | narrow_lanes(second) << 16); }
#endif

// The same from rows that are bfloat16 already.
inline vi pairs(const bf16* first, const bf16* second) { return vi(vu(load(first)) >> 16 | vu(load(second))); }

inline void store_first(float* p, vf v, int64_t n) { std::memcpy(p, &v, n * sizeof(float)); }

template <class E>
inline vf load_upto(const E* p, int64_t n) {
    return n >= W ? load(p) : load_first(p, n);
}

inline void store_upto(float* p, vf v, int64_t n) {
    if (n >= W) {
        store(p, v);
    } else {
        store_first(p, v, n);
    }
}

// Whether any lane of a comparison holds.
inline bool any(vi mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(__m512i(mask), __m512i(mask)) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps(__m256(mask)) != 0;
#else
    int32_t lanes[W], result = 0;
    std::memcpy(lanes, &mask, sizeof mask);
    for (int i = 0; i < W; i++) result |= lanes[i];
    return result != 0;
#endif
}

template <int First, class V, int... I>
inline V zip(V a, V b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, (First + I / 2 + I % 2 * W)...);
#else
    return __builtin_shuffle(a, b, vi{(First + I / 2 + I % 2 * W)...});
#endif
}

// The lanes of the first, or second, halves of two vectors in turn: a0 b0 a1 b1 ..
template <class V>
inline V zip_low(V a, V b) {
    return zip<0>(a, b, std::make_integer_sequence<int, W>());
}
template <class V>
inline V zip_high(V a, V b) {
    return zip<W / 2>(a, b, std::make_integer_sequence<int, W>());
}

inline vf larger(vf a, vf b) { return a > b ? a : b; }

inline float largest(vf v) {
    float lanes[W], result;
    store(lanes, v);
    result = lanes[0];
    for (int i = 1; i < W; i++) result = lanes[i] > result ? lanes[i] : result;
    return result;
}

#if defined(__AVX2__)
inline __m256 to_eight(vf v) {
#if defined(__AVX512F__)
    __m512 x = __m512(v);
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
    return _mm256_add_ps(_mm512_castps512_ps256(x), high);
#else
    return __m256(v);
#endif
}
#endif

// out[i] = sum of the lanes of the i-th vector, the same order of additions for each.
inline void sum4(vf a, vf b, vf c, vf d, float* out) {
#if defined(__AVX2__)
    __m256 ab = _mm256_hadd_ps(to_eight(a), to_eight(b)), cd = _mm256_hadd_ps(to_eight(c), to_eight(d));
    __m256 all = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
#else
    const vf rows[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        float lanes[W];
        store(lanes, rows[i]);
        for (int half = W / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
        }
        out[i] = lanes[0];
    }
#endif
}

inline float sum(vf v) {
    float out[4];
    sum4(v, v, v, v, out);
    return out[0];
}

// e^x to about 1 ulp; exactly 0 below -87.3, infinity above 88.7.
inline vf exp(vf x) {
    const vf low = splat(-87.3f), high = splat(88.72f);
    const vf bounded = x < low ? low : x;
    const vf inside = bounded > high ? high : bounded;
    const vf shifted = inside * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the low mantissa bits hold the integer
    const vf n = shifted - 12582912.0f;
    const vf r = (inside - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    // 2^n in two factors, because 2^128 alone is no float.
    const vi exponent = vi(shifted) - 0x4b400000, half = exponent >> 1;
    p = p * vf((half + 127) << 23) * vf((exponent - half + 127) << 23);
    p = x < low ? vf{} : p;
    return x > high ? splat(INFINITY) : p;
}

// 2^x of x < 127 to about 2 ulp, exactly 0 below 2^-126: for softmax, where `exp` would cost twice as much.
inline vf exp2_bounded(vf x) {
    const vf shifted = x + 12583039.0f;  // 1.5 * 2^23 + 127: the low mantissa bits hold the result's exponent
    const vf r = x - (shifted - 12583039.0f);
    vf p = r * 1.326472726e-3f + 9.671512700e-3f;
    p = p * r + 5.550733744e-2f;
    p = p * r + 2.402224208e-1f;
    p = p * r + 6.931469776e-1f;
    p = p * r + 1.0f;
    return x < -126.0f ? vf{} : p * vf(vu(shifted) << 23);
}

inline vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }
inline vf silu(vf x) { return x * sigmoid(x); }

// Sum of a[i] * b[i]; a's and b's tails behind n are not read.
template <class E>
inline float dot(const float* a, const E* b, int64_t n) {
    vf total = {};
    int64_t i = 0;
    for (; i + W <= n; i += W) total += load(a + i) * load(b + i);
    if (i < n) total += load_first(a + i, n - i) * load_first(b + i, n - i);
    return sum(total);
}

}  // namespace fulmen
