// A small pool of threads that run one function together and meet at barriers.
//
// A decode step is some hundred short operations, each a few microseconds; handing each to a general thread pool would
// cost more than the work. Here all threads run the whole program and meet between operations. A waiting
// thread spins for some ten microseconds, because the others are about to arrive, and then sleeps, so that it leaves
// the cores to other processes and to torch's own threads.
#pragma once

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

namespace fulmen {

constexpr int kSpins = 2000;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A value that threads wait on: spin first, then sleep.
class Signal {
   public:
    uint32_t value() const { return value_.load(std::memory_order_acquire); }

    void publish(uint32_t value) {
        value_.store(value);
        if (sleepers_.load() == 0) return;
        { std::lock_guard<std::mutex> lock(mutex_); }  // a sleeper between its check and its wait is let through
        wake_.notify_all();
    }

    void wait_past(uint32_t old) {
        for (int i = 0; i < kSpins; i++) {
            if (value() != old) return;
            pause();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return value_.load() != old; });
        sleepers_.fetch_sub(1);
    }

   private:
    alignas(64) std::atomic<uint32_t> value_{0};
    alignas(64) std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

// What the threads of one run execute; thread is 0..threads - 1.
typedef void (*Job)(void* context, int thread, int threads);

class Pool {
   public:
    // Runs the job on the caller, as thread 0, and on threads - 1 workers (fewer if the system grants no more), and
    // returns when all are done. One run at a time: a second caller waits.
    void run(int threads, Job job, void* context) {
        std::lock_guard<std::mutex> lock(running_);
        threads = grow(threads);
        job_ = job, context_ = context, threads_ = threads;
        if (threads > 1) start_.publish((start_.value() / kMostThreads + 1) * kMostThreads + threads);
        job(context, 0, threads);
        barrier();
    }

    // All threads of the current run meet; what each wrote before is visible to all after.
    void barrier() {
        uint32_t phase = phase_.value();
        int last = threads_ - 1;  // read before arriving: after the last arrival the next run may set it anew
        if (arrived_.fetch_add(1) == last) {
            arrived_ = 0;
            phase_.publish(phase + 1);
        } else {
            phase_.wait_past(phase);
        }
    }

    // The process's pool. A forked child has none of its parent's threads and gets a pool of its own.
    static Pool& instance() {
        static std::atomic<Pool*> pool{nullptr};
        static std::atomic<pid_t> owner{0};
        static std::mutex making;
        if (owner.load() != getpid()) {
            std::lock_guard<std::mutex> lock(making);
            if (owner.load() != getpid()) {
                pool = new Pool;  // never deleted: its threads live as long as the process
                owner = getpid();
            }
        }
        return *pool.load();
    }

   private:
    static constexpr uint32_t kMostThreads = 256;

    int grow(int threads) {
        threads = threads < 1 ? 1 : threads >= int(kMostThreads) ? int(kMostThreads) - 1 : threads;
        try {
            while (workers_ < threads - 1) {
                std::thread([this, index = workers_ + 1, seen = start_.value()] { work(index, seen); }).detach();
                workers_++;
            }
        } catch (const std::system_error&) {
            return workers_ + 1;
        }
        return threads;
    }

    void work(int index, uint32_t seen) {
        for (;;) {
            start_.wait_past(seen);
            seen = start_.value();
            // One value says both that a run started and with how many threads: a worker that is late and not part
            // of it must not join the next run twice.
            int threads = int(seen % kMostThreads);
            if (index >= threads) continue;
            job_(context_, index, threads);
            barrier();
        }
    }

    std::mutex running_;
    int workers_ = 0;
    Signal start_, phase_;
    int threads_ = 1;
    Job job_ = nullptr;
    void* context_ = nullptr;
    alignas(64) std::atomic<int> arrived_{0};
};

}  // namespace fulmen
