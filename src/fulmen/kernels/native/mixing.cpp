// The operations that mix tokens of a sequence: lightning attention over its state, softmax attention over its pages.

#include "runner.h"

namespace fulmen {

void Program::lightning(const Operation& op, std::atomic<int64_t>& next) {
    const int64_t heads = shape_.heads, dim = shape_.head_dim;
    const float* decay = static_cast<const float*>(op.weight.data);
    for (int64_t i; (i = next.fetch_add(1)) < step_.num_sequences * heads;) {
        const int64_t sequence = i / heads, head = i % heads, first = step_.starts[sequence];
        const int64_t slot = op.layer * step_.num_slots + step_.slots[sequence];
        lightning_head(buffers_[op.in][first] + head * 3 * dim, buffers_[op.in].stride(), decay[head], dim,
                       step_.starts[sequence + 1] - first, step_.states + (slot * heads + head) * dim * dim,
                       buffers_[op.out][first] + head * dim, buffers_[op.out].stride());
    }
}

void Program::attention(const Operation& op, std::atomic<int64_t>& next, Scratch& scratch) {
    const int64_t dim = shape_.head_dim, heads = shape_.heads, group = heads / shape_.kv_heads;
    const Rows &q = buffers_[op.in], &out = buffers_[op.out];
    for (int64_t i; (i = next.fetch_add(1)) < int64_t(plan_.splits.size()) * shape_.kv_heads;) {
        const Split& split = plan_.splits[i / shape_.kv_heads];
        const int64_t kv_head = i % shape_.kv_heads, rows = split.tokens * group;
        scratch.softmax.reserve(rows, 2);
        scratch.online.resize(rows);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t token = r / group, head = kv_head * group + r % group;
            Online& online = scratch.online[r];
            if (split.count > 1) {
                online.out = partial_[split.partial + (token * heads + head) * split.count + split.index];
                online.largest = online.out + dim;
                online.sum = online.out + dim + 1;
            } else {
                online.out = out[split.first_token + token] + head * dim;
                online.largest = scratch.softmax[r];
                online.sum = scratch.softmax[r] + 1;
            }
            *online.largest = -INFINITY, *online.sum = 0;
            std::memset(online.out, 0, dim * sizeof(float));
        }
        if (step_.cache_type == kBFloat16) {
            attend_split<bf16>(split, step_, shape_, op.layer, kv_head, q[0], q.stride(), scratch.online.data());
        } else {
            attend_split<float>(split, step_, shape_, op.layer, kv_head, q[0], q.stride(), scratch.online.data());
        }
        if (split.count > 1) continue;
        for (const Online& online : scratch.online) {
            for (int64_t d = 0; d < dim; d++) online.out[d] /= *online.sum;
        }
    }
}

void Program::merge(const Operation& op, std::atomic<int64_t>& next) {
    const int64_t dim = shape_.head_dim, heads = shape_.heads;
    for (int64_t i; (i = next.fetch_add(1)) < int64_t(plan_.splits.size());) {
        const Split& split = plan_.splits[i];
        if (split.index > 0 || split.count == 1) continue;
        for (int64_t row = 0; row < split.tokens * heads; row++) {
            float* out = buffers_[op.out][split.first_token + row / heads] + row % heads * dim;
            merge_splits(partial_[split.partial + row * split.count], partial_.stride(), split.count, dim, out);
        }
    }
}

}  // namespace fulmen
