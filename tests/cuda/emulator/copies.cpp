// Asynchronous copies: NaN at once, the bytes at the wait, as late as a GPU may bring them.
#include <cstring>

#include "tests/cuda/emulator/block.hpp"
#include "tests/cuda/emulator/memory.hpp"
#include "tests/cuda/emulator/tracker.hpp"

namespace phasor::emulator {

void Block::start_copy(void* to, const void* from, bool is_valid, const std::source_location& where) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)
    fault(FaultKind::copy, name(current_) + " copies 16 bytes from or to an address that is no multiple of 16", &where);
  if (!memory::may_be_shared(to, 16))
    fault(FaultKind::copy, name(current_) + " copies to an address outside the shared memory", &where);
  std::memset(to, 0xff, 16);
  if (tracks_races()) tracker::begin_copy(to, 16, where);
  copies_[current_].all.push_back({to, from, is_valid});
  copies_used_ = true;
}

void Block::commit_copies() {
  copies_[current_].group_ends.push_back(copies_[current_].all.size());
  copies_used_ = true;
}

void Block::wait_copies(size_t pending_groups) {
  Copies& own = copies_[current_];
  if (own.group_ends.size() <= pending_groups) return;
  const size_t groups = own.group_ends.size() - pending_groups, count = own.group_ends[groups - 1];
  for (size_t i = 0; i < count; ++i) {
    const PendingCopy& copy = own.all[i];
    if (copy.is_valid)
      std::memcpy(copy.to, copy.from, 16);
    else
      std::memset(copy.to, 0, 16);
    if (tracks_races()) tracker::finish_copy(copy.to, 16);
  }
  own.all.erase(own.all.begin(), own.all.begin() + static_cast<std::ptrdiff_t>(count));
  own.group_ends.erase(own.group_ends.begin(), own.group_ends.begin() + static_cast<std::ptrdiff_t>(groups));
  for (size_t& end : own.group_ends) end -= count;
}

// Of a thread that returns.
void Block::require_no_copies(int thread) {
  const size_t count = copies_[thread].all.size();
  if (count == 0) return;
  copies_[thread] = {};
  fault(FaultKind::copy,
        name(thread) + " returned with " + std::to_string(count) + " asynchronous copies that it never waited for");
}

void start_copy(void* to, const void* from, bool is_valid, const std::source_location& where) {
  const tracker::OutOfKernel guard;
  block().start_copy(to, from, is_valid, where);
}
void commit_copies() {
  const tracker::OutOfKernel guard;
  block().commit_copies();
}
void wait_copies(int pending_groups) {
  const tracker::OutOfKernel guard;
  block().wait_copies(static_cast<size_t>(pending_groups));
}

}  // namespace phasor::emulator
