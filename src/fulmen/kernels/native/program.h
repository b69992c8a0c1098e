// The binary interface: what Python hands over, mirrored field by field in abi.py.
//
// A program is a list of operations on buffers, built once per model; a step is the batch to run it on. Buffers hold
// one row of float32 per token and are owned by the program; weights, cache and logits belong to the caller.
#pragma once

#include <cstdint>

namespace fulmen {

enum Type : int64_t { kFloat32 = 0, kBFloat16 = 1, kInt8 = 2 };

// Row-major [rows, cols]. int8 has one scale per row: the value is data * scale.
struct Matrix {
    const void* data;
    const float* scale;
    int64_t rows, cols;
    int64_t type;
};

enum Kind : int64_t {
    kEmbed,        // out = weight[token]
    kNorm,         // out = rmsnorm(in) * weight
    kLinear,       // out = [alpha * aux +] beta * (in weight^T + bias), with silu if asked
    kGated,        // out = silu(in w1^T) * (in w3^T), weight = rows of w1, then rows of w3
    kLightning,    // out = lightning attention of in = per head [q | k | v]; weight = exp(-slope) per head
    kGatedNorm,    // out = rmsnorm(in) * weight * sigmoid(aux)
    kRotary,       // rotates queries in and keys aux, scales the queries, appends keys and values `other` to the cache
    kAttention,    // out = softmax attention of the queries in over the cache
    kRouter,       // chooses experts and their weights from in; weight = the gate
    kShare,        // the shared expert's share of each token: sigmoid(in weight^T)
    kExpertsIn,    // out = silu(w1 in) * (w3 in) for each token and each of its experts
    kExpertsOut,   // out = w2 in for each token and each of its experts
    kCombine,      // out = alpha * aux + beta * (weighted sum over experts of in, mixed with `other` by its share)
    kHead,         // logits of the wanted rows of in, padding masked
};

struct Operation {
    int64_t kind;
    int64_t in, aux, other, out;  // buffers; -1: none
    int64_t layer;                // of the cache, counted per kind of attention
    int64_t silu;                 // kLinear: apply silu
    int64_t joined;               // the next operation reads nothing that this one writes: no need to meet before it
    Matrix weight, bias;
    float alpha, beta, eps, unused;
};

struct Shape {
    int64_t heads, kv_heads, head_dim, rotary_half;
    int64_t experts, experts_per_token;
    int64_t vocab, live_vocab;
    const float* frequencies;  // [rotary_half]: radians per position
};

struct Step {
    int64_t threads;
    int64_t num_tokens, num_sequences, num_wanted, table_width;
    const int64_t* tokens;       // [num_tokens]
    const int64_t* positions;    // [num_tokens]
    const int64_t* starts;       // [num_sequences + 1]: first token of each sequence
    const int64_t* slots;        // [num_sequences]
    const int64_t* block_table;  // [num_sequences, table_width]
    const int64_t* wanted;       // [num_wanted]: tokens whose logits to compute
    float* logits;               // [num_wanted, vocab]
    float* hidden;               // [num_tokens, width of the last norm] or null
    void* keys;                  // [layers, pages, page_size, kv_heads, head_dim]
    void* values;
    float* states;  // [layers, slots, heads, head_dim, head_dim]
    int64_t num_pages, page_size, num_slots, cache_type;
};

}  // namespace fulmen
