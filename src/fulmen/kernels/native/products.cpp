// The operations that read weight matrices: projections, feed-forwards, experts and the head.

#include "runner.h"

namespace fulmen {

void Program::product(const Operation& op, std::atomic<int64_t>& next, int threads, Scratch& scratch) {
    const int64_t rows = op.kind == kGated ? op.weight.rows / 2 : op.kind == kHead ? shape_.live_vocab : op.weight.rows;
    const int64_t chunk = chunk_rows(op.weight, rows, threads);
    const int64_t tokens = op.kind == kHead ? step_.num_wanted : step_.num_tokens;
    scratch.inputs.rows.clear();
    for (int64_t t = 0; t < tokens; t++) {
        scratch.inputs.rows.push_back(buffers_[op.in][op.kind == kHead ? step_.wanted[t] : t]);
    }
    scratch.inputs.prepare(op.weight);
    for (int64_t first; (first = next.fetch_add(chunk)) < rows;) {
        const Piece piece{first, rows - first < chunk ? rows - first : chunk, threads};
        if (op.kind == kLinear) {
            linear_piece(op, piece, scratch);
        } else if (op.kind == kHead) {
            head_piece(op, piece, scratch);
        } else {
            scratch.outputs.clear();
            for (int64_t t = 0; t < tokens; t++) scratch.outputs.push_back(buffers_[op.out][t]);
            gated_piece(op.weight, piece, scratch);
        }
    }
}

void Program::linear_piece(const Operation& op, const Piece& piece, Scratch& scratch) {
    const int64_t first = piece.first, count = piece.count;
    float* results = scratch.results[0];
    multiply(op.weight, piece, scratch.inputs, results, scratch.wide[0]);
    for (int64_t t = 0; t < step_.num_tokens; t++) {
        float* out = buffers_[op.out][t] + first;
        const float* aux = op.aux < 0 ? nullptr : buffers_[op.aux][t] + first;
        for (int64_t r = 0; r < count; r += W) {
            vf x = load(results + t * kChunk + r);
            if (op.bias.type == kBFloat16) {
                x += load_upto(static_cast<const bf16*>(op.bias.data) + first + r, count - r);
            } else if (op.bias.data) {
                x += load_upto(static_cast<const float*>(op.bias.data) + first + r, count - r);
            }
            if (op.silu) x = silu(x);
            if (aux) x = load_upto(aux + r, count - r) * op.alpha + x * op.beta;
            store_upto(out + r, x, count - r);
        }
    }
}

void Program::gated_piece(const Matrix& weight, const Piece& piece, Scratch& scratch) {
    const Piece up_piece{weight.rows / 2 + piece.first, piece.count, piece.threads};
    const int64_t tokens = int64_t(scratch.inputs.rows.size());
    float *gate = scratch.results[0], *up = scratch.results[tokens];
    multiply(weight, piece, scratch.inputs, gate, scratch.wide[0]);
    multiply(weight, up_piece, scratch.inputs, up, scratch.wide[0]);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t r = 0; r < piece.count; r += W) {
            const vf value = silu(load(gate + t * kChunk + r)) * load(up + t * kChunk + r);
            store_upto(scratch.outputs[t] + piece.first + r, value, piece.count - r);
        }
    }
}

void Program::head_piece(const Operation& op, const Piece& piece, Scratch& scratch) {
    float* results = scratch.results[0];
    multiply(op.weight, piece, scratch.inputs, results, scratch.wide[0]);
    for (int64_t i = 0; i < step_.num_wanted; i++) {
        float* logits = step_.logits + i * shape_.vocab;
        std::memcpy(logits + piece.first, results + i * kChunk, piece.count * sizeof(float));
        if (piece.first == 0) {
            for (int64_t v = shape_.live_vocab; v < shape_.vocab; v++) logits[v] = -INFINITY;
        }
    }
}

// Rows are pairs (token, k), numbered token * K + k; sorting keeps them in order within an expert.
void Program::sort_by_expert(Scratch& scratch) {
    const int64_t rows = step_.num_tokens * shape_.experts_per_token;
    scratch.expert_starts.assign(shape_.experts + 1, 0);
    for (int64_t row = 0; row < rows; row++) scratch.expert_starts[expert_ids_[row] + 1]++;
    for (int64_t e = 0; e < shape_.experts; e++) scratch.expert_starts[e + 1] += scratch.expert_starts[e];
    scratch.expert_rows.resize(rows);
    std::vector<int64_t>& place = scratch.places;
    place.assign(scratch.expert_starts.begin(), scratch.expert_starts.end());
    for (int64_t row = 0; row < rows; row++) scratch.expert_rows[place[expert_ids_[row]]++] = row;
}

void Program::experts(const Operation& op, std::atomic<int64_t>& next, int threads, Scratch& scratch) {
    sort_by_expert(scratch);
    Matrix one = op.weight;
    one.rows = op.weight.rows / shape_.experts;
    const int64_t bytes = op.weight.type == kFloat32 ? 4 : op.weight.type == kBFloat16 ? 2 : 1;
    const int64_t outputs = op.kind == kExpertsIn ? one.rows / 2 : one.rows;
    const int64_t chunk = chunk_rows(one, outputs, threads), pieces = (outputs + chunk - 1) / chunk;
    int64_t number = next.fetch_add(1), before = 0;
    for (int64_t e = 0; e < shape_.experts; e++) {
        const int64_t begin = scratch.expert_starts[e], end = scratch.expert_starts[e + 1];
        if (begin == end) continue;
        one.data = static_cast<const char*>(op.weight.data) + e * one.rows * one.cols * bytes;
        one.scale = op.weight.scale ? op.weight.scale + e * one.rows : nullptr;
        scratch.inputs.rows.clear();
        scratch.outputs.clear();
        for (int64_t i = begin; i < end; i++) {
            const int64_t row = scratch.expert_rows[i], token = row / shape_.experts_per_token;
            scratch.inputs.rows.push_back(buffers_[op.in][op.kind == kExpertsIn ? token : row]);
            scratch.outputs.push_back(buffers_[op.out][row]);
        }
        if (number < before + pieces) scratch.inputs.prepare(one);
        for (; number < before + pieces; number = next.fetch_add(1)) {
            const int64_t first = (number - before) * chunk;
            const Piece piece{first, outputs - first < chunk ? outputs - first : chunk, threads};
            if (op.kind == kExpertsIn) {
                gated_piece(one, piece, scratch);
                continue;
            }
            float* results = scratch.results[0];
            multiply(one, piece, scratch.inputs, results, scratch.wide[0]);
            for (int64_t i = 0; i < end - begin; i++) {
                std::memcpy(scratch.outputs[i] + first, results + i * kChunk, piece.count * sizeof(float));
            }
        }
        before += pieces;
    }
}

}  // namespace fulmen
