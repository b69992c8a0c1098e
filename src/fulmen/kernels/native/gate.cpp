// The gate of a feed-forward, silu(gate) * up, and its gradient: one pass each over rows of [gate | up].
#include "program.h"
#include "simd.h"
#include "threads.h"

namespace fulmen {

constexpr int64_t kGateRows = 64;  // that a thread takes at once

struct Gate {
    int64_t rows, width, type;  // width a multiple of W
    const void* inner;          // [rows, 2 width]
    void* active;               // [rows, width]
};

struct GateBackward {
    Gate gate;                 // `active` becomes that of the forward times the row's coefficient
    const void* d_active;      // [rows, width], before the coefficient
    const float* coefficient;  // [rows]
    void* d_inner;             // [rows, 2 width]
    float* d_coefficient;      // [rows]
};

template <class E>
void gate_row(const Gate& g, int64_t row) {
    const E* inner = static_cast<const E*>(g.inner) + 2 * row * g.width;
    E* active = static_cast<E*>(g.active) + row * g.width;
    for (int64_t i = 0; i < g.width; i += W) store(active + i, silu(load(inner + i)) * load(inner + g.width + i));
}

template <class E>
void gate_row(const GateBackward& b, int64_t row) {
    const int64_t width = b.gate.width;
    const E* inner = static_cast<const E*>(b.gate.inner) + 2 * row * width;
    const E* d_active = static_cast<const E*>(b.d_active) + row * width;
    E *active = static_cast<E*>(b.gate.active) + row * width, *d_inner = static_cast<E*>(b.d_inner) + 2 * row * width;
    vf total = {};
    for (int64_t i = 0; i < width; i += W) {
        const vf before = load(inner + i), up = load(inner + width + i), gradient = load(d_active + i);
        const vf share = sigmoid(before), smooth = before * share, scaled = gradient * b.coefficient[row];
        total += smooth * up * gradient;
        store(active + i, smooth * up * b.coefficient[row]);
        store(d_inner + i, scaled * up * (share + smooth - smooth * share));
        store(d_inner + width + i, scaled * smooth);
    }
    b.d_coefficient[row] = sum(total);
}

template <class E, class Pass>
void run_gate(const Pass& pass, int64_t rows, int64_t threads, OpenMP openmp) {
    on_blocks(openmp, threads, rows, kGateRows, [&](int64_t first, int64_t end, int64_t) {
        for (int64_t row = first; row < end; row++) gate_row<E>(pass, row);
    });
}

template <class Pass>
void run_gate(const Pass& pass, const Gate& gate, int64_t threads, OpenMP openmp) {
    auto run = gate.type == kBFloat16 ? run_gate<bf16, Pass> : run_gate<float, Pass>;
    run(pass, gate.rows, threads, openmp);
}

}  // namespace fulmen

extern "C" {

void fulmen_gate(const fulmen::Gate* gate, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::run_gate(*gate, *gate, threads, openmp);
}

void fulmen_gate_backward(const fulmen::GateBackward* pass, int64_t threads, fulmen::OpenMP openmp) {
    fulmen::run_gate(*pass, pass->gate, threads, openmp);
}
}
