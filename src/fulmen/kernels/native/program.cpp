// The life of a program: built from its list of operations, checked and prepared for a step, walked by all threads.

#include "runner.h"

#include <algorithm>

namespace fulmen {

static bool is_on_token(int64_t kind) {
    return kind == kEmbed || kind == kNorm || kind == kGatedNorm || kind == kRotary || kind == kRouter ||
           kind == kShare || kind == kCombine;
}

Program::Program(const Operation* operations, int64_t count, const int64_t* widths, const int64_t* per_token,
                 int64_t num_buffers, const Shape& shape)
    : operations_(operations, operations + count),
      widths_(widths, widths + num_buffers),
      per_token_(per_token, per_token + num_buffers),
      frequencies_(shape.frequencies, shape.frequencies + shape.rotary_half),
      shape_(shape),
      buffers_(num_buffers),
      next_(std::make_unique<std::atomic<int64_t>[]>(2 * count)) {
    for (const Operation& op : operations_) widest_ = std::max(widest_, op.weight.cols);
}

const char* Program::check(const Step& step) const {
    auto outside = [](int64_t x, int64_t limit) { return x < 0 || x >= limit; };
    for (int64_t s = 0; s < step.num_sequences; s++) {
        const int64_t first = step.starts[s], end = step.starts[s + 1];
        if (first < 0 || end <= first || end > step.num_tokens) return "cu_seqlens do not cut the tokens into sequences";
        for (int64_t t = first; t < end; t++) {
            if (outside(step.tokens[t], shape_.vocab)) return "a token id lies outside the vocabulary";
            if (step.positions[t] != step.positions[first] + t - first) return "positions of a sequence have gaps";
        }
        if (step.positions[first] < 0) return "a position is negative";
        if (step.states && outside(step.slots[s], step.num_slots)) return "a slot lies outside the cache";
        if (!step.keys) continue;
        const int64_t pages = (step.positions[end - 1]) / step.page_size + 1;
        if (pages > step.table_width) return "the block table has too few pages for a sequence";
        for (int64_t p = 0; p < pages; p++) {
            if (outside(step.block_table[s * step.table_width + p], step.num_pages)) {
                return "a page lies outside the cache";
            }
        }
    }
    if (step.starts[0] != 0 || step.starts[step.num_sequences] != step.num_tokens) return "cu_seqlens miss some tokens";
    for (int64_t i = 0; i < step.num_wanted; i++) {
        if (outside(step.wanted[i], step.num_tokens)) return "a row of logits is asked for that is no token";
    }
    return nullptr;
}

void Program::prepare(const Step& step) {
    step_ = step;
    for (size_t b = 0; b < buffers_.size(); b++) buffers_[b].reserve(step.num_tokens * per_token_[b], widths_[b]);
    for (Rows* angles : {&cosine_, &sine_}) angles->reserve(step.num_tokens, shape_.rotary_half);
    probabilities_.reserve(step.num_tokens, shape_.experts);
    expert_weights_.reserve(step.num_tokens, shape_.experts_per_token);
    expert_ids_.resize(step.num_tokens * shape_.experts_per_token);
    shares_.resize(step.num_tokens);
    plan_.splits.clear();
    if (step.keys) plan_.build(step, shape_.heads);
    partial_.reserve(plan_.partial_rows, shape_.head_dim + 2);
    const int64_t threads = std::max<int64_t>(step.threads, 1);
    if (int64_t(scratch_.size()) < threads) scratch_.resize(threads);
    const int64_t rows = 2 * std::max(step.num_tokens, step.num_wanted);
    for (Scratch& scratch : scratch_) {
        scratch.results.reserve(rows, kChunk);
        scratch.wide.reserve(4, widest_);
    }
    for (size_t i = 0; i < 2 * operations_.size(); i++) next_[i].store(0, std::memory_order_relaxed);
}

void Program::work(int thread, int threads) {
    Pool& pool = Pool::instance();
    Scratch& scratch = scratch_[thread];
    for (size_t i = 0; i < operations_.size(); i++) {
        const Operation& op = operations_[i];
        const bool on_token = is_on_token(op.kind);
        if (i > 0 && !operations_[i - 1].joined && !(on_token && is_on_token(operations_[i - 1].kind))) pool.barrier();
        if (on_token) {
            for (int64_t t = thread; t < step_.num_tokens; t += threads) token(op, t);
        } else if (op.kind == kLightning) {
            lightning(op, next_[2 * i]);
        } else if (op.kind == kAttention) {
            attention(op, next_[2 * i], scratch);
            if (plan_.partial_rows == 0) continue;
            pool.barrier();
            merge(op, next_[2 * i + 1]);
        } else if (op.kind == kExpertsIn || op.kind == kExpertsOut) {
            experts(op, next_[2 * i], threads, scratch);
        } else {
            product(op, next_[2 * i], threads, scratch);
        }
    }
}

const char* Program::run(const Step& step) {
    if (const char* error = check(step)) return error;
    std::lock_guard<std::mutex> lock(running_);
    prepare(step);
    Pool::instance().run(
        int(std::max<int64_t>(step.threads, 1)),
        [](void* self, int thread, int threads) { static_cast<Program*>(self)->work(thread, threads); }, this);
    if (step.hidden) {
        const Operation* last = &operations_.back();
        const int64_t width = widths_[last->in];
        for (int64_t t = 0; t < step.num_tokens; t++) {
            std::memcpy(step.hidden + t * width, buffers_[last->in][t], width * sizeof(float));
        }
    }
    return nullptr;
}

}  // namespace fulmen

extern "C" {

void* fulmen_program(const fulmen::Operation* operations, int64_t count, const int64_t* widths,
                     const int64_t* per_token, int64_t num_buffers, const fulmen::Shape* shape) {
    return new fulmen::Program(operations, count, widths, per_token, num_buffers, *shape);
}

const char* fulmen_run(void* program, const fulmen::Step* step) {
    return static_cast<fulmen::Program*>(program)->run(*step);
}

void fulmen_free(void* program) { delete static_cast<fulmen::Program*>(program); }
}
