// The gradient of packed attention: a thread takes all of one head of keys and its group of query heads, so that no two
// threads add to the same gradient.
//
// Blocks of queries meet the blocks of keys up to their diagonal. With scaled scores s, weights p = exp2(s - log_sum),
// d_out's products with values d_p, and delta = sum of d_out * out of a query,
//
//     d_s = p (d_p - delta),   d_v = p^T d_out,   d_k = d_s^T q,   d_q = d_s k
//
// and all of these matrices lie transposed here, [keys, queries].

#include <atomic>

#include "packed_attention.h"

namespace fulmen {

constexpr int64_t kBackwardKeys = 32;     // of a block: few, because half of those on the diagonal are masked
constexpr int64_t kBackwardQueries = 64;  // a multiple of any 2 W

template <class E>
class AttentionBackward {
   public:
    explicit AttentionBackward(const PackedAttention& a) : a_(a), group_(a.heads / a.kv_heads) {
        for (int64_t s = 0; s < a.sequences; s++) {
            const int64_t start = a.bounds[s], length = a.bounds[s + 1] - start;
            for (int64_t h = 0; h < a.kv_heads && length > 0; h++) pieces_.push_back({start, length, h});
            longest_ = std::max(longest_, round_up(length, kRowStep));
        }
        std::stable_sort(pieces_.begin(), pieces_.end(), [](auto& a, auto& b) { return a.length > b.length; });
    }

    // Called once by each thread.
    void run() {
        Memory memory(a_.dim, longest_);
        for (int64_t i; (i = next_.fetch_add(1)) < int64_t(pieces_.size());) differentiate(pieces_[i], memory);
    }

   private:
    using C = Cell<E>;
    static constexpr int64_t Q = kBackwardQueries, K = kBackwardKeys;
    static constexpr bool kTwoForms = kDepth<C> > 1;

    struct Piece {
        int64_t start, length, kv_head;
    };

    struct Memory {
        Memory(int64_t dim, int64_t tokens)
            : space(5 * tokens * dim + 6 * Q * dim + 5 * K * Q + 2 * Q),
              keys(space.take<C>(tokens * dim)),
              keys_depth(kTwoForms ? space.take<C>(tokens * dim) : keys),
              values(space.take<C>(tokens * dim)),
              d_keys(space.take<float>(tokens * dim)),
              d_values(space.take<float>(tokens * dim)),
              rows(space.take<C>(Q * dim)),
              queries(space.take<C>(Q * dim)),
              queries_depth(space.take<C>(Q * dim)),
              d_out(space.take<C>(Q * dim)),
              d_out_depth(space.take<C>(Q * dim)),
              d_queries(space.take<float>(Q * dim)),
              log_sums(space.take<float>(Q)),
              deltas(space.take<float>(Q)),
              scores(space.take<float>(K * Q)),
              d_weights(space.take<float>(K * Q)),
              weights(kTwoForms ? space.take<C>(K * Q) : reinterpret_cast<C*>(scores)),
              d_scores(kTwoForms ? space.take<C>(K * Q) : reinterpret_cast<C*>(d_weights)),
              d_scores_depth(kTwoForms ? space.take<C>(K * Q) : d_scores) {}

        Workspace space;
        // Of the whole sequence, as factors whose depth are the dimensions or, with the name, the tokens.
        C *keys, *keys_depth, *values;
        float *d_keys, *d_values;  // [tokens, dim]
        // Of the block of queries: rows as they are read, factors for the scores, factors whose depth are the queries.
        C *rows, *queries, *queries_depth, *d_out, *d_out_depth;
        float *d_queries, *log_sums, *deltas;
        // Of the block of queries and one of keys, [K, Q], and as factors, for which float32 needs no other place.
        float *scores, *d_weights;
        C *weights, *d_scores, *d_scores_depth;
    };

    void differentiate(const Piece& piece, Memory& m) const {
        const int64_t dim = a_.dim, length = piece.length, rows = round_up(length, kRowStep);
        const E* k = a_.k.at<const E>(piece.start, piece.kv_head);
        const E* v = a_.v.at<const E>(piece.start, piece.kv_head);
        pack_rows(k, a_.k.token, length, rows, dim, m.keys);
        if (kTwoForms) pack_depth(k, a_.k.token, length, rows, dim, m.keys_depth);
        pack_rows(v, a_.v.token, length, rows, dim, m.values);
        std::fill(m.d_keys, m.d_keys + rows * dim, 0.0f);
        std::fill(m.d_values, m.d_values + rows * dim, 0.0f);
        for (int64_t head = piece.kv_head * group_; head < (piece.kv_head + 1) * group_; head++) {
            for (int64_t q = 0; q < length; q += Q) {
                const int64_t count = std::min(Q, length - q);
                read_queries(piece.start + q, head, count, m);
                for (int64_t first = 0; first < q + count; first += K) meet(q, first, std::min(K, rows - first), m);
                write_rows(m.d_queries, count, dim, scale_, a_.d_q.at<E>(piece.start + q, head), a_.d_q.token);
            }
        }
        write_rows(m.d_keys, length, dim, scale_, a_.d_k.at<E>(piece.start, piece.kv_head), a_.d_k.token);
        write_rows(m.d_values, length, dim, 1.0f, a_.d_v.at<E>(piece.start, piece.kv_head), a_.d_v.token);
    }

    void read_queries(int64_t token, int64_t head, int64_t count, Memory& m) const {
        const int64_t dim = a_.dim, width = dim / kDepth<C>;
        const E* q = a_.q.at<const E>(token, head);
        const E* d_out = a_.d_out.at<const E>(token, head);
        pack_rows(q, a_.q.token, count, Q, dim, m.rows);
        transpose(m.rows, width, Q, width, m.queries, Q);
        pack_depth(q, a_.q.token, count, Q, dim, m.queries_depth);
        pack_rows(d_out, a_.d_out.token, count, Q, dim, m.rows);
        transpose(m.rows, width, Q, width, m.d_out, Q);
        pack_depth(d_out, a_.d_out.token, count, Q, dim, m.d_out_depth);
        std::fill(m.d_queries, m.d_queries + Q * dim, 0.0f);
        for (int64_t i = 0; i < Q; i++) {
            m.log_sums[i] = m.deltas[i] = 0.0f;
            if (i >= count) continue;
            vf delta = {};
            const E* out = a_.out.at<const E>(token + i, head);
            for (int64_t d = 0; d < dim; d += W) delta += load(d_out + i * a_.d_out.token + d) * load(out + d);
            m.deltas[i] = sum(delta);
            m.log_sums[i] = a_.log_sums[(token + i) * a_.heads + head];
        }
    }

    // The queries from q on and `keys` keys, a multiple of kRowStep, from `first` on. Both count from the start.
    void meet(int64_t q, int64_t first, int64_t keys, Memory& m) const {
        const int64_t dim = a_.dim, width = dim / kDepth<C>;
        const int64_t skip = std::max(first - q, int64_t(0)) / (2 * W) * (2 * W), queries = Q - skip;
        multiply(keys, queries, width, LeftOf<C>{m.keys + first * width, width, 1}, m.queries + skip, Q,
                 m.scores + skip, Q, Into::kNothing);
        multiply(keys, queries, width, LeftOf<C>{m.values + first * width, width, 1}, m.d_out + skip, Q,
                 m.d_weights + skip, Q, Into::kNothing);
        if (first + keys > q + 1) {
            weigh<true>(skip, keys, first - q, m);
        } else {
            weigh<false>(skip, keys, 0, m);
        }
        const int64_t row = Q / kDepth<C>, begin = skip / kDepth<C>;
        multiply(keys, dim, queries / kDepth<C>, LeftOf<C>{m.weights + begin, row, 1}, m.d_out_depth + begin * dim, dim,
                 m.d_values + first * dim, dim, Into::kSum);
        multiply(keys, dim, queries / kDepth<C>, LeftOf<C>{m.d_scores + begin, row, 1}, m.queries_depth + begin * dim,
                 dim, m.d_keys + first * dim, dim, Into::kSum);
        multiply(queries, dim, keys / kDepth<C>, LeftOf<C>{m.d_scores_depth + skip, 1, Q},
                 m.keys_depth + first / kDepth<C> * dim, dim, m.d_queries + skip * dim, dim, Into::kSum);
    }

    // Scores and d_weights become weights and d_scores; queries from skip on, the first key `ahead` behind the first.
    template <bool kMasked>
    void weigh(int64_t skip, int64_t keys, int64_t ahead, Memory& m) const {
        for (int64_t r = 0; r < keys; r += 2) {
            for (int64_t i = skip; i < Q; i += W) {
                const vf shift = load(m.log_sums + i), delta = load(m.deltas + i);
                vf d_score[2];
                for (int64_t n = 0; n < 2; n++) {
                    const int64_t place = (r + n) * Q + i;
                    vf score = load(m.scores + place) * score_scale_ - shift;
                    score = score > 0.0f ? vf{} : score;  // above 0 by rounding alone, of huge scores by much
                    if (kMasked) score = lanes_below(ahead + r + n - i) ? splat(-INFINITY) : score;
                    const vf weight = exp2_bounded(score);
                    d_score[n] = weight * (load(m.d_weights + place) - delta);
                    store_row(m.weights + (r + n) * (Q / kDepth<C>), i, weight);
                    store_row(m.d_scores + (r + n) * (Q / kDepth<C>), i, d_score[n]);
                }
                if (kTwoForms) store_depth(m.d_scores_depth + i, Q, r, d_score[0], d_score[1]);
            }
        }
    }

    const PackedAttention a_;
    const int64_t group_;
    const float score_scale_ = score_scale(a_.dim), scale_ = float(1.0 / std::sqrt(double(a_.dim)));
    int64_t longest_ = 0;
    std::vector<Piece> pieces_;
    std::atomic<int64_t> next_{0};
};

}  // namespace fulmen

extern "C" void fulmen_packed_attention_backward(const fulmen::PackedAttention* a, int64_t threads,
                                                 fulmen::OpenMP openmp) {
    fulmen::run_attention<fulmen::AttentionBackward>(*a, threads, openmp);
}
