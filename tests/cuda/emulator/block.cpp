// Threads of a block taking turns.
#include "tests/cuda/emulator/block.hpp"

#include <cstring>
#include <numeric>
#include <utility>

#include "tests/cuda/emulator/memory.hpp"
#include "tests/cuda/emulator/tracker.hpp"

uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace phasor::emulator {
namespace {

Block* const instance = new Block;  // never destroyed: kernels may run late

bool is_same_line(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

}  // namespace

Block& block() { return *instance; }

bool Block::is_own(const void* at) const {
  const auto is_within = [at](const void* first, size_t bytes) {
    return reinterpret_cast<uintptr_t>(at) - reinterpret_cast<uintptr_t>(first) < bytes;
  };
  if (!call_) return true;
  return is_on_running_stack(at) || is_within(closure_, closure_bytes_) ||
         is_within(&__executable_start,
                   static_cast<size_t>(reinterpret_cast<const char*>(__data_start) - &__executable_start));
}

void Block::abort() {
  is_aborting_ = true;
  for (int thread = 0; thread < count_; ++thread)
    if (thread == running_fiber().thread) {
      continue;  // is on its way out
    } else if (state_[thread] == State::unstarted) {
      ready_.remove(rank_of_[thread]);
      state_[thread] = State::done;
      ++done_;
    } else if (state_[thread] == State::at_meeting || state_[thread] == State::at_barrier) {
      make_ready(thread);
    }
}

int Block::pick() {
  int from = 0;
  if (order_ == Order::lockstep) from = cursor_ + 1 < count_ ? cursor_ + 1 : 0;
  if (order_ == Order::shuffled) from = random_.below(count_);
  const int rank = ready_.next(from);
  if (rank < 0) return -1;
  ready_.remove(rank);
  cursor_ = rank;
  return thread_of_[rank];
}

void Block::make_ready(int thread) {
  state_[thread] = State::ready;
  ready_.add(rank_of_[thread]);
}

void Block::begin_thread(int thread) {
  current_ = thread;
  threadIdx = index_[thread];
}

void Block::go_to(int thread) {
  Fiber* to = fiber_of_[thread];
  if (state_[thread] == State::unstarted) {
    if (idle_.empty()) {
      to = &fiber(used_fibers_++);
    } else {
      to = idle_.back();
      idle_.pop_back();
    }
    to->thread = thread;
  }
  switch_to(*to, run_fiber);
}

void Block::run_fiber() {
  Block& b = block();
  Fiber& own = running_fiber();
  for (;;) {
    const int thread = own.thread;
    b.begin_thread(thread);
    b.state_[thread] = State::ready;
    try {
      tracker::in_kernel = true;
      b.call_ ? b.call_(b.closure_) : (*b.body_)();
      tracker::in_kernel = false;
      b.end_thread();
    } catch (const Aborted&) {
      tracker::in_kernel = false;
    } catch (...) {
      tracker::in_kernel = false;
      if (!b.error_) b.error_ = std::current_exception();
      b.abort();
    }
    b.state_[thread] = State::done;
    ++b.done_;
    int next = b.pick();
    if (next < 0 && b.done_ < b.count_) {
      try {
        b.stuck();
      } catch (const Aborted&) {
      }
      next = b.pick();
    }
    if (next >= 0 && b.state_[next] == State::unstarted) {
      own.thread = next;
      continue;
    }
    b.idle_.push_back(&own);
    switch_to(next >= 0 ? *b.fiber_of_[next] : host_fiber(), run_fiber);
  }
}

void Block::wait(State why) {
  const int own = current_;
  state_[own] = why;
  fiber_of_[own] = &running_fiber();
  const int next = pick();
  if (next < 0) stuck();
  if (next != own) go_to(next);
  begin_thread(own);
  if (is_aborting_) throw Aborted{};
}

void Block::end_thread() {
  if (tracker::found) [[unlikely]]
    fault_of_tracker();
  const int own = current_;
  Warp& warp = warps_[own / 32];
  if (at_barrier_ > 0) [[unlikely]]
    fault(FaultKind::barrier, name(own) + " has returned while " + std::to_string(at_barrier_) + " wait at a barrier",
          &barrier_);
  if (warp.waiting) [[unlikely]]
    require_not_awaited(own);
  warp.live &= ~(1u << own % 32);
  if (copies_used_) require_no_copies(own);
}

int Block::barrier(Vote vote, bool predicate, const std::source_location& where) {
  if (tracker::found) [[unlikely]]
    fault_of_tracker();
  if (done_ > 0) [[unlikely]]
    fault(FaultKind::barrier, name(current_) + " is at a barrier, but " + std::to_string(done_) + " have returned",
          &where);
  if (at_barrier_ == 0) {
    barrier_ = where;
    vote_ = vote;
    votes_for_ = 0;
  } else if (vote != vote_ || !is_same_line(where, barrier_)) [[unlikely]] {
    fault_of_barriers(where);
  }
  votes_for_ += predicate;
  if (++at_barrier_ == count_) {
    at_barrier_ = 0;
    votes_ = {0, votes_for_ > 0, votes_for_ == count_, votes_for_};
    if (tracks_races()) tracker::pass_barrier();
    ready_.fill(count_);
    state_.fill(State::ready);
    wait(State::ready);
  } else {
    wait(State::at_barrier);
  }
  return votes_[static_cast<int>(vote)];
}

void Block::meet(Arrival& arrival) {
  if (tracker::found) [[unlikely]]
    fault_of_tracker();
  const int own = current_, first = own & ~31;
  Warp& warp = warps_[own / 32];
  const unsigned mask = arrival.mask, bit = 1u << own % 32;
  if (!(mask & bit) || mask & ~warp.live) [[unlikely]]
    fault_of_mask(arrival);
  const auto require_same = [&](int other) {
    const Arrival& there = *warp.lanes[other];
    if (there.mask != mask || there.kind != arrival.kind || !is_same_line(there.where, arrival.where)) [[unlikely]]
      fault_of_lanes(arrival, other);
  };
  if (const unsigned others = warp.waiting & mask) require_same(std::countr_zero(others));
  warp.lanes[own % 32] = &arrival;
  warp.waiting |= bit;
  if ((warp.waiting & mask) != mask) return wait(State::at_meeting);

  for (unsigned rest = mask & ~bit; rest; rest &= rest - 1) require_same(std::countr_zero(rest));
  exchange(*this, mask, warp.lanes.data());
  warp.waiting &= ~mask;
  for (unsigned rest = mask; rest; rest &= rest - 1) make_ready(first + std::countr_zero(rest));
  if (arrival.kind == Meeting::syncwarp && tracks_races()) tracker::join_lanes(own / 32, mask);
  wait(State::ready);
}

void Block::run_block(uint64_t index) {
  blockIdx = {static_cast<unsigned>(index % grid_.x), static_cast<unsigned>(index / grid_.x % grid_.y),
              static_cast<unsigned>(index / grid_.x / grid_.y)};
  state_.fill(State::unstarted);
  ready_.fill(count_);
  done_ = at_barrier_ = 0;
  cursor_ = count_ - 1;
  current_ = -1;
  for (int first = 0; first < count_; first += 32) {
    const int lanes = count_ - first;
    warps_[first / 32].live = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    warps_[first / 32].waiting = 0;
  }
  if (shared_bytes_ > 0) std::memset(dynamic_shared(), 0xff, shared_bytes_);
  if (tracks_races()) tracker::begin_block();
  go_to(pick());
}

void Block::run(const char* op, dim3 grid, dim3 size, size_t shared_bytes, const std::function<void()>& body,
                Order order, uint64_t seed) {
  op_ = op;
  grid_ = grid;
  size_ = size;
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {size.x, size.y, size.z};
  shared_bytes_ = shared_bytes;
  order_ = order;
  random_.state = seed;
  count_ = static_cast<int>(size.x * size.y * size.z);
  for (int thread = 0; thread < count_; ++thread) {
    const auto t = static_cast<unsigned>(thread);
    index_[thread] = {t % size.x, t / size.x % size.y, t / size.x / size.y};
    thread_of_[thread] = order == Order::descending ? count_ - 1 - thread : thread;
  }
  if (order == Order::shuffled)
    for (int i = count_ - 1; i > 0; --i) std::swap(thread_of_[i], thread_of_[random_.below(i + 1)]);
  for (int rank = 0; rank < count_; ++rank) rank_of_[thread_of_[rank]] = rank;

  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  // Any step without a common divisor visits every block once.
  uint64_t step = 1, first = 0;
  if (order == Order::shuffled) {
    first = random_.next() % blocks;
    do step = random_.next() % blocks + 1;
    while (std::gcd(step, blocks) != 1);
  }
  if (order == Order::descending) first = blocks - 1, step = blocks - 1 + (blocks == 1);

  is_aborting_ = copies_used_ = false;
  error_ = nullptr;
  body_ = &body;
  const Body* const known = body.target<Body>();
  call_ = known ? known->call : nullptr;
  closure_ = known ? known->closure.get() : nullptr;
  closure_bytes_ = known ? known->bytes : 0;
  memory::set_dynamic_shared(shared_bytes);
  for (uint64_t i = 0, at = first; i < blocks && !is_aborting_; ++i, at = (at + step) % blocks) run_block(at);
  memory::set_dynamic_shared(0);
  body_ = nullptr;
  for (size_t i = 0; i < used_fibers_; ++i) reset(fiber(i));
  used_fibers_ = 0;
  idle_.clear();
  if (copies_used_)
    for (Copies& copies : copies_) copies.all.clear(), copies.group_ends.clear();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void meet(Arrival& arrival) {
  const tracker::OutOfKernel guard;
  block().meet(arrival);
}
int barrier(Vote vote, bool predicate, const std::source_location& where) {
  const tracker::OutOfKernel guard;
  return block().barrier(vote, predicate, where);
}
unsigned live_lanes() { return block().live_lanes(); }

}  // namespace phasor::emulator
