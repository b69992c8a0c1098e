// Softmax attention of a few new tokens over pages of the cache, for decoding.
//
// Bound by reading the cache: each key and value is read once for the whole group of query heads that share it, and
// for all new tokens of its sequence. The softmax runs online over blocks of positions. A long sequence is cut into
// splits, which threads take up in any order and which are merged in order; cuts depend on the sequence's own length
// only, so that neither the batch nor the number of threads changes a result.
//
// G query heads share a key-value head; D is head_dim; a row is one query head of one token.
#pragma once

#include <algorithm>
#include <vector>

#include "program.h"
#include "simd.h"

namespace fulmen {

constexpr int kBlock = 64;  // positions scored at a time

// One piece of work: all rows of one sequence over positions begin..end.
struct Split {
    int64_t sequence, first_token, tokens, context;
    int64_t index, count;  // which of how many splits of the sequence
    int64_t begin, end;
    int64_t partial;  // first row of this sequence's partial results; unused if count is 1
};

inline int64_t split_length(int64_t positions) {
    const int64_t sixty_fourth = round_up((positions + 63) / 64, kBlock);
    return sixty_fourth > 256 ? sixty_fourth : 256;
}

struct AttentionPlan {
    std::vector<Split> splits;
    int64_t partial_rows = 0;  // rows of partial results: (token, head, split) of every sequence that is cut

    void build(const Step& step, int64_t heads) {
        splits.clear();
        partial_rows = 0;
        for (int64_t s = 0; s < step.num_sequences; s++) {
            const int64_t first = step.starts[s], tokens = step.starts[s + 1] - first;
            const int64_t context = step.positions[first], total = context + tokens;
            const int64_t length = split_length(total), count = (total + length - 1) / length;
            for (int64_t i = 0; i < count; i++) {
                const int64_t end = (i + 1) * length < total ? (i + 1) * length : total;
                splits.push_back({s, first, tokens, context, i, count, i * length, end, partial_rows});
            }
            if (count > 1) partial_rows += tokens * heads * count;
        }
    }
};

// What an online softmax carries for each row: out [D] (unnormalised), the largest score and the sum.
struct Online {
    float* out;
    float* largest;
    float* sum;
};

// Scores of R rows against `count` keys: scores[r * kBlock + p] = q[r] . keys[p].
template <class E, int R>
inline void score_rows(const float* const* q, const E* keys, int64_t stride, int64_t count, int64_t dim, float* scores) {
    for (int64_t p = 0; p < count; p += 4) {
        const E* key[4];
        for (int i = 0; i < 4; i++) key[i] = keys + (p + i < count ? p + i : count - 1) * stride;
        vf total[R][4] = {};
        int64_t d = 0;
        for (; d + W <= dim; d += W) {  // not load_upto: its branch would keep the sums out of the registers
            vf query[R];
            for (int r = 0; r < R; r++) query[r] = load(q[r] + d);
            for (int i = 0; i < 4; i++) {
                const vf k = load(key[i] + d);
                for (int r = 0; r < R; r++) total[r][i] += query[r] * k;
            }
        }
        if (d < dim) {
            for (int i = 0; i < 4; i++) {
                const vf k = load_first(key[i] + d, dim - d);
                for (int r = 0; r < R; r++) total[r][i] += load_first(q[r] + d, dim - d) * k;
            }
        }
        for (int r = 0; r < R; r++) {
            sum4(total[r][0], total[r][1], total[r][2], total[r][3], scores + r * kBlock + p);
        }
    }
}

// out[r] = out[r] * keep[r] + sum over p of weights[r * kBlock + p] * values[p], for R rows.
template <class E, int R>
inline void add_values(float* const* out, const float* keep, const float* weights, const E* values, int64_t stride,
                       int64_t count, int64_t dim) {
    for (int64_t d = 0; d < dim; d += 2 * W) {
        const int64_t left = dim - d;
        if (left < 2 * W) {
            for (int64_t e = 0; e < left; e += W) {
                for (int r = 0; r < R; r++) {
                    vf total = load_upto(out[r] + d + e, left - e) * keep[r];
                    for (int64_t p = 0; p < count; p++) {
                        total += weights[r * kBlock + p] * load_upto(values + p * stride + d + e, left - e);
                    }
                    store_upto(out[r] + d + e, total, left - e);
                }
            }
            return;
        }
        vf total[R][2];
        for (int r = 0; r < R; r++) {
            for (int i = 0; i < 2; i++) total[r][i] = load(out[r] + d + i * W) * keep[r];
        }
        for (int64_t p = 0; p < count; p++) {
            const vf a = load(values + p * stride + d), b = load(values + p * stride + d + W);
            for (int r = 0; r < R; r++) {
                total[r][0] += weights[r * kBlock + p] * a;
                total[r][1] += weights[r * kBlock + p] * b;
            }
        }
        for (int r = 0; r < R; r++) {
            for (int i = 0; i < 2; i++) store(out[r] + d + i * W, total[r][i]);
        }
    }
}

// Turns one row's scores into weights e^(score - largest) and updates its largest and sum; returns what to keep of
// the sums so far. Positions from `visible` on are masked.
inline float soften(float* scores, int64_t visible, int64_t count, float* largest_so_far, float* sum_so_far) {
    const int64_t padded = round_up(count, W);
    for (int64_t p = visible; p < padded; p++) scores[p] = -INFINITY;
    vf top = splat(*largest_so_far);
    for (int64_t p = 0; p < padded; p += W) top = larger(load(scores + p), top);
    const float most = largest(top);
    if (most == -INFINITY) {
        for (int64_t p = 0; p < padded; p++) scores[p] = 0;
        return 1;
    }
    vf total = {};
    for (int64_t p = 0; p < padded; p += W) {
        const vf weight = exp(load(scores + p) - most);
        store(scores + p, weight);
        total += weight;
    }
    const float keep = std::exp(*largest_so_far - most);
    *sum_so_far = *sum_so_far * keep + sum(total);
    *largest_so_far = most;
    return keep;
}

template <class E, int R>
inline void attend_rows(const float* const* q, const int64_t* visible, const E* keys, const E* values, int64_t stride,
                        int64_t count, int64_t dim, float* const* out, float* const* largest, float* const* sum) {
    alignas(64) float scores[R * kBlock];
    float keep[R];
    // Two rows at a time share each key and leave room for four keys in the registers.
    for (int r = 0; r + 1 < R; r += 2) score_rows<E, 2>(q + r, keys, stride, count, dim, scores + r * kBlock);
    if (R % 2) score_rows<E, 1>(q + R - 1, keys, stride, count, dim, scores + (R - 1) * kBlock);
    for (int r = 0; r < R; r++) {
        keep[r] = soften(scores + r * kBlock, visible[r] < count ? visible[r] : count, count, largest[r], sum[r]);
    }
    add_values<E, R>(out, keep, scores, values, stride, count, dim);
}

// Fetches `count` rows of dim elements: no pattern that the hardware sees leads from one page to the next.
template <class E>
inline void fetch_rows(const E* rows, int64_t stride, int64_t count, int64_t dim) {
    for (int64_t p = 0; p < count; p++) {
        for (int64_t d = 0; d < dim; d += 64 / sizeof(E)) __builtin_prefetch(rows + p * stride + d, 0, 2);
    }
}

// All rows of one split and one key-value head. q is [tokens of the batch] rows of q_stride floats; the online
// softmax of row (token, head of the group) is rows[token * group + head].
template <class E>
void attend_split(const Split& split, const Step& step, const Shape& shape, int64_t layer, int64_t kv_head,
                  const float* q, int64_t q_stride, const Online* rows) {
    const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads, stride = shape.kv_heads * dim;
    const int64_t page_size = step.page_size, layer_offset = layer * step.num_pages * page_size * stride;
    const E* all_keys = static_cast<const E*>(step.keys) + layer_offset + kv_head * dim;
    const E* all_values = static_cast<const E*>(step.values) + layer_offset + kv_head * dim;
    const int64_t* table = step.block_table + split.sequence * step.table_width;
    for (int64_t begin = split.begin; begin < split.end;) {
        int64_t end = (begin / kBlock + 1) * kBlock;
        const int64_t page_end = (begin / page_size + 1) * page_size;
        end = end < page_end ? end : page_end;
        end = end < split.end ? end : split.end;
        const int64_t row = table[begin / page_size] * page_size + begin % page_size;
        const E *keys = all_keys + row * stride, *values = all_values + row * stride;
        const int64_t count = end - begin;
        fetch_rows(values, stride, count, dim);
        if (end < split.end) {
            const int64_t next = table[end / page_size] * page_size + end % page_size;
            const int64_t left = split.end - end, room = page_size - end % page_size;
            fetch_rows(all_keys + next * stride, stride, std::min({left, room, int64_t(kBlock)}), dim);
        }
        for (int64_t i = 0; i < split.tokens * group; i += 4) {
            const int64_t n = split.tokens * group - i < 4 ? split.tokens * group - i : 4;
            const float* queries[4];
            float *out[4], *largest[4], *sum[4];
            int64_t visible[4];
            for (int64_t r = 0; r < n; r++) {
                const int64_t token = (i + r) / group, head = kv_head * group + (i + r) % group;
                queries[r] = q + (split.first_token + token) * q_stride + head * dim;
                visible[r] = split.context + token + 1 - begin;
                out[r] = rows[i + r].out, largest[r] = rows[i + r].largest, sum[r] = rows[i + r].sum;
            }
            if (visible[n - 1] <= 0) continue;
            for (int64_t r = 0; r < n; r++) visible[r] = visible[r] < 0 ? 0 : visible[r];
            if (n == 4) {
                attend_rows<E, 4>(queries, visible, keys, values, stride, count, dim, out, largest, sum);
            } else if (n == 3) {
                attend_rows<E, 3>(queries, visible, keys, values, stride, count, dim, out, largest, sum);
            } else if (n == 2) {
                attend_rows<E, 2>(queries, visible, keys, values, stride, count, dim, out, largest, sum);
            } else {
                attend_rows<E, 1>(queries, visible, keys, values, stride, count, dim, out, largest, sum);
            }
        }
        begin = end;
    }
}

// One row's splits, in order, into its result: each a row of dim sums, then their largest score and sum.
inline void merge_splits(const float* partial, int64_t stride, int64_t count, int64_t dim, float* out) {
    float most = -INFINITY, total = 0;
    for (int64_t i = 0; i < count; i++) most = std::fmax(most, partial[i * stride + dim]);
    for (int64_t d = 0; d < dim; d++) out[d] = 0;
    for (int64_t i = 0; i < count; i++) {
        const float* part = partial + i * stride;
        const float weight = std::exp(part[dim] - most);
        total += weight * part[dim + 1];
        for (int64_t d = 0; d < dim; d++) out[d] += weight * part[d];
    }
    for (int64_t d = 0; d < dim; d++) out[d] /= total;
}

}  // namespace fulmen
