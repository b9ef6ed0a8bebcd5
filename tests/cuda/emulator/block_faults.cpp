// What is said of threads that miss each other.
#include <cstdio>

#include "tests/cuda/emulator/block.hpp"
#include "tests/cuda/emulator/tracker.hpp"

namespace phasor::emulator {
namespace {

std::string line_of(const std::source_location& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}
std::string hex(unsigned mask) {
  char text[11];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

const char* name_of(Meeting kind) {
  constexpr const char* names[] = {"__syncwarp",         "__shfl_sync",     "__shfl_up_sync", "__shfl_down_sync",
                                   "__shfl_xor_sync",    "__ballot_sync",   "__any_sync",     "__all_sync",
                                   "a load of matrices", "a matrix product"};
  return names[static_cast<int>(kind)];
}

std::string text_of(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

}  // namespace

std::string Block::name(int thread) const {
  if (size_.y == 1 && size_.z == 1) return "thread " + std::to_string(thread);
  return "thread " + text_of(index_[thread]);
}

void Block::fault(FaultKind kind, const std::string& what, const std::source_location* where) {
  if (!error_)
    error_ = std::make_exception_ptr(Fault(kind,
                                           std::string(op_) + ": " + what + "; in block " + text_of(blockIdx) +
                                               (where ? " (" + line_of(*where) + ")" : ""),
                                           op_, where ? where->file_name() : "", where ? where->line() : 0, blockIdx,
                                           current_ >= 0 ? index_[current_] : uint3{}));
  abort();
  throw Aborted{};
}

void Block::fault_of_tracker() {
  const tracker::Finding found = tracker::take();
  if (!error_)
    error_ = std::make_exception_ptr(
        Fault(static_cast<FaultKind>(found.kind),
              std::string(op_) + ": " + found.what + "; in block " + text_of(blockIdx) +
                  (found.file.empty() ? "" : " (" + found.file + ":" + std::to_string(found.line) + ")"),
              op_, found.file, found.line, blockIdx, index_[current_]));
  abort();
  throw Aborted{};
}

// In another place, or in another way, than those that wait.
void Block::fault_of_barriers(const std::source_location& where) {
  fault(FaultKind::barrier,
        name(current_) + " is at another barrier than the " + std::to_string(at_barrier_) + " that wait at " +
            line_of(barrier_),
        &where);
}

void Block::fault_of_mask(const Arrival& arrival) {
  const int lane = current_ % 32;
  if (!(arrival.mask >> lane & 1))
    fault(FaultKind::mask,
          name(current_) + " is lane " + std::to_string(lane) + ", which is not in its own mask " + hex(arrival.mask),
          &arrival.where);
  const int missing = std::countr_zero(arrival.mask & ~warps_[current_ / 32].live);
  fault(FaultKind::mask,
        name(current_) + " waits with mask " + hex(arrival.mask) + " for lane " + std::to_string(missing) +
            (current_ / 32 * 32 + missing < count_ ? ", which has returned" : ", which is not there"),
        &arrival.where);
}

void Block::fault_of_lanes(const Arrival& arrival, int other) {
  const Arrival& there = *warps_[current_ / 32].lanes[other];
  fault(FaultKind::lanes,
        "lane " + std::to_string(current_ % 32) + " of warp " + std::to_string(current_ / 32) + " is at " +
            name_of(arrival.kind) + " with mask " + hex(arrival.mask) + ", lane " + std::to_string(other) + " at " +
            name_of(there.kind) + " with mask " + hex(there.mask) + " in line " + std::to_string(there.where.line()),
        &arrival.where);
}

// Lanes that wait for a thread which returns will wait for ever.
void Block::require_not_awaited(int thread) {
  const Warp& warp = warps_[thread / 32];
  for (unsigned rest = warp.waiting; rest; rest &= rest - 1) {
    const Arrival& other = *warp.lanes[std::countr_zero(rest)];
    if (other.mask >> thread % 32 & 1)
      fault(FaultKind::mask,
            name(thread) + " has returned, while " + name_of(other.kind) + " with mask " + hex(other.mask) +
                " waits for its lane " + std::to_string(thread % 32),
            &other.where);
  }
}

// Nobody can go on.
void Block::stuck() {
  for (int thread = 0; thread < count_; ++thread) {
    if (state_[thread] != State::at_meeting) continue;
    const int first = thread / 32 * 32;
    const Warp& warp = warps_[thread / 32];
    const Arrival& own = *warp.lanes[thread % 32];
    for (unsigned rest = own.mask; rest; rest &= rest - 1) {
      const int other = first + std::countr_zero(rest);
      if (state_[other] == State::at_meeting && warp.lanes[other % 32]->mask == own.mask) continue;
      const std::string where = state_[other] == State::at_barrier
                                    ? "a barrier in line " + std::to_string(barrier_.line())
                                    : std::string(name_of(warp.lanes[other % 32]->kind)) + " with mask " +
                                          hex(warp.lanes[other % 32]->mask) + " in line " +
                                          std::to_string(warp.lanes[other % 32]->where.line());
      current_ = thread;
      fault(FaultKind::lanes,
            name(thread) + " waits at " + name_of(own.kind) + " with mask " + hex(own.mask) + " for " + name(other) +
                ", which waits at " + where,
            &own.where);
    }
  }
  fault(FaultKind::deadlock, "no thread can go on");
}

}  // namespace phasor::emulator
