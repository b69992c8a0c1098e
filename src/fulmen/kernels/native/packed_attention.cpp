// Causal softmax attention over packed sequences, the forward: blocks of keys pass strips of queries. Queries may be the
// last of a sequence whose other tokens have keys and values only.
//
// Scores lie transposed, [keys, queries of a strip]: the largest score of a query, its sum and the mask are lanes, and
// no step of the softmax goes across a vector.

#include <atomic>

#include "packed_attention.h"

namespace fulmen {

constexpr int64_t kKeyBlock = 64;    // keys that stay in the first-level cache, with their values and a strip's scores
constexpr int64_t kStrip = 2 * W;    // queries, the columns of a product's tile
constexpr int64_t kStrips = 4;       // that a block of keys meets at least, if there are so many
constexpr float kMostGrowth = 8.0f;  // of scores beyond what is subtracted from them: weights reach 2 to that power

template <class E>
class AttentionForward {
   public:
    explicit AttentionForward(const PackedAttention& a)
        : a_(a), group_(a.heads / a.kv_heads), queries_(std::max(kStrips / group_, int64_t(1)) * kStrip) {
        for (int64_t s = 0; s < a.sequences; s++) {
            const int64_t start = a.bounds[s], length = a.bounds[s + 1] - start;
            const int64_t keys = a.key_bounds[s], context = a.key_bounds[s + 1] - keys - length;
            // One head of keys after the other, so that it stays in the cache, and each from the end, where queries see
            // most: short pieces come last and even out the threads.
            for (int64_t h = 0; h < a.kv_heads; h++) {
                for (int64_t q = round_up(length, queries_) - queries_; q >= 0; q -= queries_) {
                    pieces_.push_back({start, length, keys, context, h, q});
                }
            }
        }
    }

    // Called once by each thread.
    void run() {
        Memory memory(a_.dim, queries_ / kStrip * group_);
        for (int64_t i; (i = next_.fetch_add(1)) < int64_t(pieces_.size());) attend(pieces_[i], memory);
    }

   private:
    using C = Cell<E>;

    struct Piece {
        int64_t start, length;   // of the sequence's queries
        int64_t keys, context;   // where its keys begin, and how many lie before that of its first query
        int64_t kv_head, first;  // the head of its keys, and its first query, counted from the start
    };

    struct Strip {
        int64_t head, first;   // its first query, counted from the start of the sequence's queries
        int64_t position;      // and from the start of its keys
        C* queries;            // [dim / kDepth, kStrip]
        float* out;            // [kStrip, dim]: sums of values, weighted by exp2(scale (score - shift))
        float *shift, *total;  // [kStrip]: what is subtracted from scores, and the sums of weights
    };

    struct Memory {
        Memory(int64_t dim, int64_t strips)
            : space(strips * kStrip * (2 * dim + 2) + kStrip * dim + kKeyBlock * (2 * dim + kStrip)),
              queries(space.take<C>(strips * kStrip * dim)),
              outs(space.take<float>(strips * kStrip * dim)),
              sums(space.take<float>(strips * kStrip * 2)),
              rows(space.take<C>(kStrip * dim)),
              keys(space.take<C>(kKeyBlock * dim)),
              values(space.take<C>(kKeyBlock * dim)),
              scores(space.take<float>(kKeyBlock * kStrip)) {}

        Workspace space;
        C* queries;
        float *outs, *sums;
        C *rows, *keys, *values;
        float* scores;
        std::vector<Strip> strips;
    };

    void attend(const Piece& piece, Memory& m) const {
        const int64_t dim = a_.dim, end = std::min(piece.first + queries_, piece.length);
        m.strips.clear();
        for (int64_t g = 0; g < group_; g++) {
            for (int64_t q = piece.first; q < end; q += kStrip) begin(piece, piece.kv_head * group_ + g, q, m);
        }
        for (int64_t first = 0; first < piece.context + end; first += kKeyBlock) {
            const int64_t count = std::min(kKeyBlock, piece.context + piece.length - first);
            const int64_t rows = round_up(count, kRowStep), token = piece.keys + first;
            pack_rows(a_.k.at<const E>(token, piece.kv_head), a_.k.token, count, rows, dim, m.keys);
            pack_depth(a_.v.at<const E>(token, piece.kv_head), a_.v.token, count, rows, dim, m.values);
            for (const Strip& strip : m.strips) {
                const int64_t seen = std::min(rows, round_up(strip.position + kStrip - first, kRowStep));
                if (seen > 0) meet(strip, first, seen, m);
            }
        }
        for (const Strip& strip : m.strips) finish(strip, piece);
    }

    void begin(const Piece& piece, int64_t head, int64_t q, Memory& m) const {
        const int64_t dim = a_.dim, width = dim / kDepth<C>, n = int64_t(m.strips.size());
        float* sums = m.sums + n * kStrip * 2;
        const Strip strip{head, q, piece.context + q, m.queries + n * kStrip * dim, m.outs + n * kStrip * dim, sums, sums + kStrip};
        const int64_t count = std::min(kStrip, piece.length - q);
        pack_rows(a_.q.at<const E>(piece.start + q, head), a_.q.token, count, kStrip, dim, m.rows);
        transpose(m.rows, width, kStrip, width, strip.queries, kStrip);
        std::fill(strip.out, strip.out + kStrip * dim, 0.0f);
        std::fill(strip.shift, strip.shift + kStrip, -INFINITY);
        std::fill(strip.total, strip.total + kStrip, 0.0f);
        m.strips.push_back(strip);
    }

    // The strip and the first `keys` keys, a multiple of kRowStep, of the block that begins at key `first`.
    void meet(const Strip& strip, int64_t first, int64_t keys, Memory& m) const {
        const int64_t dim = a_.dim, width = dim / kDepth<C>;
        multiply(keys, kStrip, width, LeftOf<C>{m.keys, width, 1}, strip.queries, kStrip, m.scores, kStrip,
                 Into::kNothing);
        for (int64_t r = std::max(strip.position + 1 - first, int64_t(0)); r < keys; r++) {
            for (int64_t i = 0; i < kStrip; i += W) {  // queries before this key
                float* scores = m.scores + r * kStrip + i;
                store(scores, lanes_below(first + r - strip.position - i) ? splat(-INFINITY) : load(scores));
            }
        }
        raise_shift(strip, keys, m.scores);
        C* weights = weigh(strip, keys, m.scores);
        multiply(kStrip, dim, keys / kDepth<C>, LeftOf<C>{weights, 1, kStrip}, m.values, dim, strip.out, dim,
                 Into::kSum);
    }

    // Where a score is much larger than all before, the strip's sums so far change to a larger shift. To wait until it
    // is much larger leaves hardly any changes after the first block.
    void raise_shift(const Strip& strip, int64_t keys, const float* scores) const {
        vf top[4];
        for (int i = 0; i < 4; i++) top[i] = splat(-INFINITY);
        for (int64_t r = 0; r < keys; r += 2, scores += 2 * kStrip) {
            for (int i = 0; i < 4; i++) top[i] = larger(top[i], load(scores + i * W));
        }
        for (int i = 0; i < 2; i++) top[i] = larger(top[i], top[i + 2]);
        const vf growth[2] = {(top[0] - load(strip.shift)) * scale_, (top[1] - load(strip.shift + W)) * scale_};
        if (!any((growth[0] > kMostGrowth) | (growth[1] > kMostGrowth))) return;
        float factors[kStrip];
        for (int i = 0; i < 2; i++) {
            const vf before = load(strip.shift + i * W), after = larger(before, top[i]);
            const vf factor = exp2_bounded((before - after) * scale_);
            store(factors + i * W, factor);
            store(strip.shift + i * W, after);
            store(strip.total + i * W, load(strip.total + i * W) * factor);
        }
        for (int64_t i = 0; i < kStrip; i++) {
            float* out = strip.out + i * a_.dim;
            for (int64_t d = 0; d < a_.dim; d += W) store(out + d, load(out + d) * factors[i]);
        }
    }

    // Scores become weights, in their place, as a factor whose depth are the keys: [keys / kDepth, kStrip].
    C* weigh(const Strip& strip, int64_t keys, float* scores) const {
        C* weights = reinterpret_cast<C*>(scores);
        const vf shift[2] = {load(strip.shift), load(strip.shift + W)};
        vf total[4] = {};
        for (int64_t r = 0; r < keys; r += 2) {
            vf weight[4];
            for (int i = 0; i < 4; i++) {
                weight[i] = exp2_bounded((load(scores + r * kStrip + i * W) - shift[i % 2]) * scale_);
                total[i] += weight[i];
            }
            for (int i = 0; i < 2; i++) store_depth(weights + i * W, kStrip, r, weight[i], weight[i + 2]);
        }
        for (int i = 0; i < 2; i++) {
            store(strip.total + i * W, load(strip.total + i * W) + (total[i] + total[i + 2]));
        }
        return weights;
    }

    void finish(const Strip& strip, const Piece& piece) const {
        const int64_t count = std::min(kStrip, piece.length - strip.first);
        for (int64_t i = 0; i < count; i++) {
            const int64_t token = piece.start + strip.first + i;
            write_rows(strip.out + i * a_.dim, 1, a_.dim, 1.0f / strip.total[i], a_.out.at<E>(token, strip.head), 0);
            if (a_.log_sums) {
                a_.log_sums[token * a_.heads + strip.head] = strip.shift[i] * scale_ + std::log2(strip.total[i]);
            }
        }
    }

    const PackedAttention a_;
    const int64_t group_, queries_;  // query heads of a key's head, and queries of a piece
    const float scale_ = score_scale(a_.dim);
    std::vector<Piece> pieces_;
    std::atomic<int64_t> next_{0};
};

}  // namespace fulmen

extern "C" {

void fulmen_packed_attention(const fulmen::PackedAttention* a, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::run_attention<fulmen::AttentionForward>(*a, threads, openmp);
}
}
