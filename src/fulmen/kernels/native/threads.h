// Where work on many tokens gets its threads: torch's own, or those of the pool.
//
// After an operation of torch its threads spin on their cores for a while, and threads of another pool would wait for
// them.
#pragma once

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

}  // namespace fulmen
