// Where lanes of a warp meet: each leaves what it brings, the last to arrive computes for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

namespace phasor::emulator {

enum class Meeting : uint8_t {
  syncwarp,
  shuffle,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  ballot,
  any,
  all,
  load_matrix,
  multiply,
};

struct Arrival {
  unsigned mask;
  Meeting kind;
  std::source_location where;
  uint64_t value = 0;            // what a shuffle or a vote passes on; its answer
  int argument = 0, width = 32;  // of a shuffle: lane or distance, and lanes that are among themselves
  void* operands[3] = {};        // of a matrix instruction
};
// Returns when all lanes of the mask have arrived.
void meet(Arrival& arrival);

enum class Vote : uint8_t { none, any, all, count };
// __syncthreads and its kin: the answer to the vote of all threads.
int barrier(Vote vote, bool predicate, const std::source_location& where);
unsigned live_lanes();

// Asynchronous copies to shared memory, of 16 bytes; zeros if not valid.
void start_copy(void* to, const void* from, bool is_valid, const std::source_location& where);
void commit_copies();
void wait_copies(int pending_groups);

// The tracker hears of an atomic access.
void note_atomic(const void* at, size_t bytes, const void* pc);

}  // namespace phasor::emulator
