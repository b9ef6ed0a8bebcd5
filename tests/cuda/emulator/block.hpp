// The block that runs: its threads, which of them can go on, and where the others wait.
#pragma once

#include <array>
#include <bit>
#include <exception>
#include <source_location>
#include <vector>

#include "tests/cuda/emulator/emulator.hpp"
#include "tests/cuda/emulator/fiber.hpp"
#include "tests/cuda/emulator/meeting.hpp"

// Kernels know them as constants, in device.hpp.
extern uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace phasor::emulator {

constexpr int most_threads = 1024;

// Numbers 0 .. 1023, found in either direction.
class NumberSet {
 public:
  void fill(int count) {
    words_ = {};
    filled_ = 0;
    for (int i = 0; i < count; i += 64) {
      words_[i / 64] = count - i >= 64 ? ~uint64_t{0} : (uint64_t{1} << (count - i)) - 1;
      filled_ |= 1u << i / 64;
    }
  }
  void add(int i) {
    words_[i / 64] |= uint64_t{1} << i % 64;
    filled_ |= 1u << i / 64;
  }
  void remove(int i) {
    if ((words_[i / 64] &= ~(uint64_t{1} << i % 64)) == 0) filled_ &= ~(1u << i / 64);
  }
  // The first from `from` on, around the end; -1 if there is none.
  int next(int from) const {
    if (filled_ == 0) return -1;
    const int word = from / 64;
    if (const uint64_t rest = words_[word] & ~uint64_t{0} << from % 64) return word * 64 + std::countr_zero(rest);
    const uint32_t later = filled_ & ~((2u << word) - 1);
    const int found = std::countr_zero(later ? later : filled_);
    return found * 64 + std::countr_zero(words_[found]);
  }

 private:
  std::array<uint64_t, most_threads / 64> words_{};
  uint32_t filled_ = 0;
};

struct Random {
  uint64_t state = 1;
  uint64_t next() {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  int below(int limit) { return static_cast<int>((next() >> 32) * static_cast<uint64_t>(limit) >> 32); }
};

enum class State : uint8_t { unstarted, ready, at_meeting, at_barrier, done };

struct Warp {
  unsigned live = 0, waiting = 0;
  std::array<Arrival*, 32> lanes{};
};

struct PendingCopy {
  void* to;
  const void* from;
  bool is_valid;
};
// Of a thread: copies under way, oldest first, and how many of them there are up to the end of each group.
struct Copies {
  std::vector<PendingCopy> all;
  std::vector<size_t> group_ends;
};

// Unwinds a thread whose block has failed.
struct Aborted {};

class Block {
 public:
  // Runs all blocks of a launch; throws what a thread threw, or a Fault.
  void run(const char* op, dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()>& body, Order order,
           uint64_t seed);

  void meet(Arrival& arrival);
  int barrier(Vote vote, bool predicate, const std::source_location& where);
  unsigned live_lanes() const { return warps_[current_ / 32].live; }
  void start_copy(void* to, const void* from, bool is_valid, const std::source_location& where);
  void commit_copies();
  void wait_copies(size_t pending_groups);

  bool is_running() const { return body_ != nullptr; }
  // Whether a kernel may look there, outside of device and shared memory: its stack, its arguments, constants.
  bool is_own(const void* at) const;
  int current() const { return current_; }
  size_t shared_bytes() const { return shared_bytes_; }
  // Throws out of the current thread, and ends the others.
  [[noreturn]] void fault(FaultKind kind, const std::string& what, const std::source_location* where = nullptr);
  std::string name(int thread) const;

 private:
  static void run_fiber();
  void run_block(uint64_t index);
  void begin_thread(int thread);
  void end_thread();
  void wait(State why);
  int pick();
  void go_to(int thread);
  void make_ready(int thread);
  void abort();

  [[noreturn]] void fault_of_tracker();
  [[noreturn]] void fault_of_barriers(const std::source_location& where);
  [[noreturn]] void fault_of_mask(const Arrival& arrival);
  [[noreturn]] void fault_of_lanes(const Arrival& arrival, int other);
  void require_not_awaited(int thread);
  void require_no_copies(int thread);
  [[noreturn]] void stuck();

  const char* op_ = "";
  const std::function<void()>* body_ = nullptr;
  void (*call_)(const void*) = nullptr;  // with its closure, where that is known
  const void* closure_ = nullptr;
  size_t closure_bytes_ = 0;
  dim3 grid_, size_;
  size_t shared_bytes_ = 0;
  Order order_ = Order::ascending;
  Random random_;

  int count_ = 0, current_ = -1, done_ = 0, cursor_ = 0;
  std::array<uint3, most_threads> index_;
  std::array<int, most_threads> rank_of_, thread_of_;  // the order in which threads are looked for
  std::array<State, most_threads> state_;
  std::array<Fiber*, most_threads> fiber_of_;
  NumberSet ready_;
  std::vector<Fiber*> idle_;
  size_t used_fibers_ = 0;
  std::array<Warp, most_threads / 32> warps_;

  int at_barrier_ = 0, votes_for_ = 0;
  Vote vote_ = Vote::none;
  std::source_location barrier_;
  std::array<int, 4> votes_{};  // the answers of the latest barrier

  std::array<Copies, most_threads> copies_;
  bool copies_used_ = false;

  bool is_aborting_ = false;
  std::exception_ptr error_;
};

Block& block();

// What the last lane to arrive does for all.
void exchange(Block& block, unsigned mask, Arrival* const* lanes);

}  // namespace phasor::emulator
