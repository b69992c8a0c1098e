// Runs a program on a batch: every thread walks the list of operations, takes its share of each, and meets the others
// where the next operation reads what this one wrote.
//
// Operations on single tokens belong to thread `token % threads`, so that a run of them needs no meeting. Products
// are cut into pieces that threads take from a counter, because a core may be slowed by others' work.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "attention.h"
#include "layers.h"
#include "linear.h"
#include "pool.h"
#include "program.h"

namespace fulmen {

// Float rows, each starting at a multiple of 64 bytes and padded with zeros to one.
class Rows {
   public:
    // Keeps old contents only if nothing grows.
    void reserve(int64_t rows, int64_t width) {
        stride_ = round_up(width, 16);
        if (rows * stride_ <= capacity_) return;
        capacity_ = rows * stride_;
        memory_ = std::make_unique<float[]>(capacity_ + 16);
        first_ = reinterpret_cast<float*>(round_up(reinterpret_cast<int64_t>(memory_.get()), 64));
    }
    float* operator[](int64_t row) const { return first_ + row * stride_; }
    int64_t stride() const { return stride_; }

   private:
    std::unique_ptr<float[]> memory_;
    float* first_ = nullptr;
    int64_t stride_ = 0, capacity_ = 0;
};

// What one thread needs for itself.
struct Scratch {
    Rows results, wide, softmax;
    Inputs inputs;
    std::vector<float*> outputs;
    std::vector<int64_t> expert_starts, expert_rows, places;
    std::vector<Online> online;
};

class Program {
   public:
    Program(const Operation* operations, int64_t count, const int64_t* widths, const int64_t* per_token,
            int64_t num_buffers, const Shape& shape);

    // Returns null, or what is wrong with the step; nothing has been written then.
    const char* run(const Step& step);

   private:
    const char* check(const Step& step) const;
    void prepare(const Step& step);
    void work(int thread, int threads);
    void token(const Operation& op, int64_t token);
    void embed(const Operation& op, int64_t token);
    void rotate_and_append(const Operation& op, int64_t token);
    void combine(const Operation& op, int64_t token);
    void product(const Operation& op, std::atomic<int64_t>& next, int threads, Scratch& scratch);
    void linear_piece(const Operation& op, const Piece& piece, Scratch& scratch);
    void gated_piece(const Matrix& weight, const Piece& piece, Scratch& scratch);
    void head_piece(const Operation& op, const Piece& piece, Scratch& scratch);
    void experts(const Operation& op, std::atomic<int64_t>& next, int threads, Scratch& scratch);
    void sort_by_expert(Scratch& scratch);
    void lightning(const Operation& op, std::atomic<int64_t>& next);
    void attention(const Operation& op, std::atomic<int64_t>& next, Scratch& scratch);
    void merge(const Operation& op, std::atomic<int64_t>& next);

    std::vector<Operation> operations_;
    std::vector<int64_t> widths_, per_token_;
    std::vector<float> frequencies_;
    Shape shape_;
    int64_t widest_ = 0;
    std::vector<Rows> buffers_;
    std::vector<Scratch> scratch_;
    std::unique_ptr<std::atomic<int64_t>[]> next_;  // two counters for each operation
    Rows cosine_, sine_, probabilities_, expert_weights_, partial_;
    std::vector<int64_t> expert_ids_;
    std::vector<float> shares_;
    AttentionPlan plan_;
    Step step_{};
    std::mutex running_;
};

}  // namespace fulmen
