// Where work on many tokens gets its threads: torch's own, or those of the pool.
//
// After an operation of torch its threads spin on their cores for a while, and threads of another pool would wait for
// them.
#pragma once

#include <algorithm>
#include <atomic>

#include "pool.h"

namespace fulmen {

// OpenMP's entry: runs the work on so many threads, and returns when all are done.
typedef void (*OpenMP)(void (*work)(void*), void* context, unsigned threads, unsigned flags);

// On OpenMP's threads if it is there, else on the pool's.
template <class F>
void on_threads(OpenMP openmp, int64_t threads, F work) {
    if (openmp) {
        openmp([](void* self) { (*static_cast<F*>(self))(); }, &work, unsigned(threads), 0);
    } else {
        Pool::instance().run(int(threads), [](void* self, int, int) { (*static_cast<F*>(self))(); }, &work);
    }
}

// work(first, end, number of the block) for blocks of so many of `count` things; a thread that is done takes the next.
// One block alone is not worth a meeting of threads.
template <class F>
void on_blocks(OpenMP openmp, int64_t threads, int64_t count, int64_t size, F work) {
    if (count == 0) return;
    if (count <= size) return work(0, count, 0);
    std::atomic<int64_t> next{0};
    on_threads(openmp, threads, [&] {
        for (int64_t i; (i = next.fetch_add(1)) * size < count;) work(i * size, std::min((i + 1) * size, count), i);
    });
}

}  // namespace fulmen
