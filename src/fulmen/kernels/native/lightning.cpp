// Lightning attention of silu(q), silu(k), silu(v) over packed sequences, forward and backward: the chunked form of
// kernels/lightning_chunk.py, whose formulas stand there, with everything of a chunk in a core's caches.
//
// A thread takes some heads of a sequence and walks its chunks, all heads of a chunk before the next: they are
// neighbours in memory. Silu is applied to the inputs as they are read; they and the outputs are float32 or bfloat16,
// all arithmetic is float32.
#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "program.h"
#include "rows.h"
#include "threads.h"
#include "tile.h"

namespace fulmen {

constexpr int64_t kTokens = 64;            // of a chunk
constexpr int64_t kStateFloats = 1 << 17;  // of the states of the heads that a thread takes at once

struct LightningInputs {
    int64_t sequences, heads, dim, type;
    const int64_t* bounds;  // [sequences + 1]
    const float* slopes;    // [heads]
    const void *q, *k, *v;  // [tokens, heads, dim]
    int64_t token_stride, head_stride;
    float* starts;  // [chunks of all sequences, heads, dim, dim]: the state before each chunk; null if not kept
};

struct LightningForward {
    LightningInputs in;
    void* out;     // [tokens, heads, dim]
    float* state;  // [sequences, heads, dim, dim]: on entry before the first token, on return after the last
};

struct LightningBackward {
    LightningInputs in;
    const void* d_out;      // [tokens, heads, dim]
    void *d_q, *d_k, *d_v;  // with the strides of q, k and v
    float* d_state;         // [sequences, heads, dim, dim]: on entry of the final state, on return of the first
};

// Powers of one head's decay exp(-slope).
struct Decay {
    float power[kTokens + 1];   // of 0..kTokens
    float window[2 * kTokens];  // power[i - j] for query i and key j, 0 for j > i, at [kTokens - 1 - i + j]

    explicit Decay(float slope) : window{} {
        for (int64_t n = 0; n <= kTokens; n++) power[n] = std::exp(-slope * float(n));
        for (int64_t n = 0; n < kTokens; n++) window[kTokens - 1 - n] = power[n];
    }
};

// The matrices of one chunk, and a thread's memory for them.
struct Chunk {
    int64_t dim, length = 0, rows = 0;  // tokens, and with the zeros behind them
    Workspace memory;
    float *q, *k, *v, *q_gates, *k_gates, *v_gates, *out, *d_q, *d_k, *d_v;  // [kTokens, dim]
    float *k_columns, *v_columns;            // [dim, kTokens]
    float *scores, *d_scores;                // [kTokens, kTokens]
    float *state_columns, *d_state_columns;  // [dim, dim]

    explicit Chunk(int64_t dim) : dim(dim), memory(12 * kTokens * dim + 2 * kTokens * kTokens + 2 * dim * dim) {
        for (float** place : {&q, &k, &v, &q_gates, &k_gates, &v_gates, &out, &d_q, &d_k, &d_v, &k_columns,
                              &v_columns}) {
            *place = memory.take<float>(kTokens * dim);
        }
        for (float** place : {&scores, &d_scores}) *place = memory.take<float>(kTokens * kTokens);
        for (float** place : {&state_columns, &d_state_columns}) *place = memory.take<float>(dim * dim);
    }

    void resize(int64_t tokens) { length = tokens, rows = round_up(tokens, kRowStep); }
};

template <class E>
class Lightning {
   public:
    Lightning(const LightningInputs& in, int64_t threads) : in_(in), chunks_before_(in.sequences + 1) {
        for (int64_t s = 0; s < in.sequences; s++) {
            chunks_before_[s + 1] = chunks_before_[s] + (in.bounds[s + 1] - in.bounds[s] + kTokens - 1) / kTokens;
        }
        for (int64_t h = 0; h < in.heads; h++) decays_.emplace_back(in.slopes[h]);
        // Few enough that every thread has two pieces, and that their states stay in its cache.
        const int64_t shared = in.heads * in.sequences / (2 * threads), cached = kStateFloats / (in.dim * in.dim);
        group_ = std::max<int64_t>(1, std::min({in.heads, shared, cached}));
    }

    // Called once by each thread: work(sequence, first head, head after the last, chunk) for all heads of all
    // sequences.
    template <class F>
    void for_each_group(F work) {
        Chunk chunk(in_.dim);
        const int64_t groups = (in_.heads + group_ - 1) / group_;
        for (int64_t i; (i = next_.fetch_add(1)) < in_.sequences * groups;) {
            const int64_t head = i % groups * group_;
            work(i / groups, head, std::min(head + group_, in_.heads), chunk);
        }
    }

    void forward(const LightningForward& pass, int64_t sequence, int64_t head, int64_t last, Chunk& c) const {
        const int64_t end = in_.bounds[sequence + 1];
        for (int64_t t = in_.bounds[sequence], n = chunks_before_[sequence]; t < end; t += kTokens, n++) {
            c.resize(std::min(kTokens, end - t));
            for (int64_t h = head; h < last; h++) forward_chunk(pass, sequence, t, n, h, c);
        }
    }

    void backward(const LightningBackward& pass, int64_t sequence, int64_t head, int64_t last, Chunk& c) const {
        const int64_t first = in_.bounds[sequence], before = chunks_before_[sequence];
        for (int64_t n = chunks_before_[sequence + 1] - 1; n >= before; n--) {
            const int64_t t = first + (n - before) * kTokens;
            c.resize(std::min(kTokens, in_.bounds[sequence + 1] - t));
            for (int64_t h = head; h < last; h++) backward_chunk(pass, sequence, t, n, h, c);
        }
    }

   private:
    void forward_chunk(const LightningForward& f, int64_t sequence, int64_t t, int64_t n, int64_t head,
                       Chunk& c) const {
        const int64_t dim = in_.dim, size = dim * dim;
        const Decay& decay = decays_[head];
        float* state = f.state + (sequence * in_.heads + head) * size;
        if (in_.starts) std::copy(state, state + size, at_chunk(n, head));
        read_inputs(t, head, c);
        transpose(c.k, dim, c.rows, dim, c.k_columns, kTokens);
        multiply(c.rows, dim, dim, {c.q, dim, 1}, state, dim, c.out, dim, Into::kNothing);
        scale_queries(c.out, decay, c);
        for (int64_t i = 0; i < c.rows; i += kRowStep) {
            masked_products(c.q, c.k_columns, i, decay, c.scores, c);
            multiply(kRowStep, dim, i + kRowStep, {c.scores + i * kTokens, kTokens, 1}, c.v, dim, c.out + i * dim, dim,
                     Into::kSum);
        }
        write_rows(c.out, c.length, dim, 1.0f, static_cast<E*>(f.out) + (t * in_.heads + head) * dim, in_.heads * dim);
        scale_keys(c.k, decay, c);
        add_to_state(c.k, c.v, decay, state, c);
    }

    void backward_chunk(const LightningBackward& b, int64_t sequence, int64_t t, int64_t n, int64_t head,
                        Chunk& c) const {
        const int64_t dim = in_.dim, place = t * in_.token_stride + head * in_.head_stride;
        const Decay& decay = decays_[head];
        float* d_state = b.d_state + (sequence * in_.heads + head) * dim * dim;
        read_inputs(t, head, c);
        read(static_cast<const E*>(b.d_out) + (t * in_.heads + head) * dim, in_.heads * dim, nullptr, c.out, c);
        transpose(c.k, dim, c.rows, dim, c.k_columns, kTokens);
        transpose(c.v, dim, c.rows, dim, c.v_columns, kTokens);
        transpose(at_chunk(n, head), dim, dim, dim, c.state_columns, dim);
        transpose(d_state, dim, dim, dim, c.d_state_columns, dim);

        multiply(c.rows, dim, dim, {c.out, dim, 1}, c.state_columns, dim, c.d_q, dim, Into::kNothing);
        scale_queries(c.d_q, decay, c);
        multiply(c.rows, dim, dim, {c.v, dim, 1}, c.d_state_columns, dim, c.d_k, dim, Into::kNothing);
        scale_keys(c.d_k, decay, c);
        multiply(c.rows, dim, dim, {c.k, dim, 1}, d_state, dim, c.d_v, dim, Into::kNothing);
        scale_keys(c.d_v, decay, c);
        for (int64_t i = 0; i < c.rows; i += kRowStep) {
            masked_products(c.q, c.k_columns, i, decay, c.scores, c);
            masked_products(c.out, c.v_columns, i, decay, c.d_scores, c);
            multiply(kRowStep, dim, i + kRowStep, {c.d_scores + i * kTokens, kTokens, 1}, c.k, dim, c.d_q + i * dim,
                     dim, Into::kSum);
        }
        for (int64_t j = 0; j < c.rows; j += kRowStep) {  // keys, seen by the queries from j on
            const int64_t corner = j * kTokens + j, queries = c.rows - j;
            multiply(kRowStep, dim, queries, {c.d_scores + corner, 1, kTokens}, c.q + j * dim, dim, c.d_k + j * dim,
                     dim, Into::kSum);
            multiply(kRowStep, dim, queries, {c.scores + corner, 1, kTokens}, c.out + j * dim, dim, c.d_v + j * dim,
                     dim, Into::kSum);
        }
        scale_queries(c.out, decay, c);
        add_to_state(c.q, c.out, decay, d_state, c);
        write_gradient(c.d_q, c.q, c.q_gates, b.d_q, place, c);
        write_gradient(c.d_k, c.k, c.k_gates, b.d_k, place, c);
        write_gradient(c.d_v, c.v, c.v_gates, b.d_v, place, c);
    }

    float* at_chunk(int64_t chunk, int64_t head) const {
        return in_.starts + (chunk * in_.heads + head) * in_.dim * in_.dim;
    }

    void read_inputs(int64_t token, int64_t head, Chunk& c) const {
        const int64_t place = token * in_.token_stride + head * in_.head_stride;
        read(static_cast<const E*>(in_.q) + place, in_.token_stride, c.q_gates, c.q, c);
        read(static_cast<const E*>(in_.k) + place, in_.token_stride, c.k_gates, c.k, c);
        read(static_cast<const E*>(in_.v) + place, in_.token_stride, c.v_gates, c.v, c);
    }

    // Activated if sigmoids are wanted, which then go to `gates`.
    static void read(const E* x, int64_t stride, float* gates, float* out, const Chunk& c) {
        pack_rows(x, stride, c.length, c.rows, c.dim, out);
        // In a loop of its own, or the CPU would wait for each row's memory alone.
        for (int64_t i = 0; gates && i < c.length * c.dim; i += W) {
            const vf value = load(out + i), gate = sigmoid(value);
            store(gates + i, gate);
            store(out + i, value * gate);
        }
    }

    // Gradients of the activated inputs y = x g with the sigmoids g, as those of x: dx = dy (g + y (1 - g)).
    void write_gradient(float* gradient, const float* activated, const float* gates, void* out, int64_t place,
                        const Chunk& c) const {
        for (int64_t i = 0; i < c.length * c.dim; i += W) {
            const vf y = load(activated + i), gate = load(gates + i);
            store(gradient + i, load(gradient + i) * (gate + y - y * gate));
        }
        write_rows(gradient, c.length, c.dim, 1.0f, static_cast<E*>(out) + place, in_.token_stride);
    }

    // Eight rows from `first` of the masked product of queries and keys, the latter [dim, kTokens].
    static void masked_products(const float* queries, const float* keys, int64_t first, const Decay& decay, float* out,
                                const Chunk& c) {
        const int64_t seen = round_up(first + kRowStep, W);
        out += first * kTokens;
        multiply(kRowStep, seen, c.dim, {queries + first * c.dim, c.dim, 1}, keys, kTokens, out, kTokens,
                 Into::kNothing);
        for (int64_t i = first; i < first + kRowStep; i++, out += kTokens) {
            const float* factor = decay.window + kTokens - 1 - i;
            for (int64_t j = 0; j < seen; j += W) store(out + j, load(out + j) * load(factor + j));
        }
    }

    static void scale_queries(float* x, const Decay& decay, const Chunk& c) {
        for (int64_t i = 0; i < c.rows; i++, x += c.dim) scale(x, decay.power[i + 1], c.dim);
    }

    static void scale_keys(float* x, const Decay& decay, const Chunk& c) {
        for (int64_t i = 0; i < c.length; i++, x += c.dim) scale(x, decay.power[c.length - 1 - i], c.dim);
    }

    static void scale(float* x, float factor, int64_t count) {
        for (int64_t d = 0; d < count; d += W) store(x + d, load(x + d) * factor);
    }

    // state = decay of the whole chunk * state + left^T right.
    static void add_to_state(const float* left, const float* right, const Decay& decay, float* state, const Chunk& c) {
        scale(state, decay.power[c.length], c.dim * c.dim);
        multiply(c.dim, c.dim, c.length, {left, 1, c.dim}, right, c.dim, state, c.dim, Into::kSum);
    }

    LightningInputs in_;
    std::vector<int64_t> chunks_before_;  // [sequences + 1]
    std::vector<Decay> decays_;           // [heads]
    int64_t group_;                       // heads that are taken at once
    std::atomic<int64_t> next_{0};
};

template <class E, class Pass>
void run_lightning(const Pass& pass, int64_t threads, OpenMP openmp) {
    Lightning<E> lightning(pass.in, threads);
    on_threads(openmp, threads, [&] {
        lightning.for_each_group([&](int64_t sequence, int64_t head, int64_t last, Chunk& chunk) {
            if constexpr (std::is_same_v<Pass, LightningForward>) {
                lightning.forward(pass, sequence, head, last, chunk);
            } else {
                lightning.backward(pass, sequence, head, last, chunk);
            }
        });
    });
}

template <class Pass>
void run_lightning(const Pass& pass, int64_t threads, OpenMP openmp) {
    auto run = pass.in.type == kBFloat16 ? run_lightning<bf16, Pass> : run_lightning<float, Pass>;
    run(pass, threads, openmp);
}

}  // namespace fulmen

extern "C" {

void fulmen_lightning(const fulmen::LightningForward* pass, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::run_lightning(*pass, threads, openmp);
}

void fulmen_lightning_backward(const fulmen::LightningBackward* pass, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::run_lightning(*pass, threads, openmp);
}
}
