// What is known of every byte of shared memory: who wrote it last and who has read it since.
#include "tests/cuda/emulator/tracker.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/cuda/emulator/block.hpp"
#include "tests/cuda/emulator/memory.hpp"

namespace phasor::emulator::tracker {
namespace {

// Epochs count barriers and blocks of all launches, so that nothing need be cleared. A lane's clock counts its
// __syncwarps of an epoch, from 1 on.
uint32_t epoch = 1, first_epoch = 1;  // of the block

struct Record {
  uint32_t epoch = 0, clock = 0, place = 0;
  int16_t thread = 0;
  uint16_t flags = 0;
};
constexpr uint16_t is_atomic = 1, is_pending = 2;  // of writes
constexpr uint16_t by_lanes = 1, by_warps = 2;     // of reads: several lanes of one warp, several warps
struct Cell {
  Record write, read;  // read by several lanes: `clock` is the index of their clocks
};

// A cell for each word, as long as nobody looks at parts of it in this block; then one for each byte.
struct Shadow {
  const size_t size = static_cast<size_t>(_end - __data_start);
  Cell* const words = zeros<Cell>(size / 4 + 1);
  Cell* const bytes = zeros<Cell>(size);
  uint32_t* const split = zeros<uint32_t>(size / 4 + 1);  // first epoch of the block that split it

  // Most of it is never touched, and then takes no memory.
  template <class T>
  static T* zeros(size_t count) {
    void* const memory = std::calloc(count, sizeof(T));
    if (!memory) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
};
Shadow& shadow() {
  static auto* const instance = new Shadow;
  return *instance;
}

using Clocks = std::array<uint32_t, 32>;
struct WarpClocks {
  uint32_t epoch = 0;
  std::array<Clocks, 32> known;  // [lane][other]: the other's clock that the lane has heard of
};
std::array<WarpClocks, most_threads / 32> warps;
std::vector<Clocks> readers;  // of this epoch

uint32_t known(int thread, int other_lane) {
  const WarpClocks& warp = warps[thread / 32];
  if (warp.epoch == epoch) return warp.known[thread % 32][other_lane];
  return thread % 32 == other_lane ? 1 : 0;
}

bool is_ordered(const Record& record, int thread) {
  if (record.epoch != epoch || record.thread == thread) return true;
  return record.thread / 32 == thread / 32 && known(thread, record.thread % 32) >= record.clock;
}

// Lines of the program: offsets of instructions, or, with the highest bit, numbers of source locations.
constexpr uint32_t is_location = 0x80000000u;
std::vector<std::source_location> locations;

uint32_t place_of(const void* pc) { return static_cast<uint32_t>(static_cast<const char*>(pc) - &__executable_start); }
uint32_t place_of(const std::source_location& where) {
  for (size_t i = locations.size(); i-- > 0;)
    if (locations[i].line() == where.line() && locations[i].file_name() == where.file_name())
      return is_location | static_cast<uint32_t>(i);
  locations.push_back(where);
  return is_location | static_cast<uint32_t>(locations.size() - 1);
}

std::pair<std::string, unsigned> line_of(uint32_t place) {
  if (place & is_location) {
    const std::source_location& where = locations[place & ~is_location];
    return {where.file_name(), where.line()};
  }
  static auto* const lines = new std::map<uint32_t, std::pair<std::string, unsigned>>;
  if (const auto known = lines->find(place); known != lines->end()) return known->second;
  char command[96], line[1024] = "";
  std::snprintf(command, sizeof command, "addr2line -e /proc/%d/exe 0x%x 2>/dev/null", getpid(), place - 1);
  if (FILE* const pipe = popen(command, "r")) {
    if (!std::fgets(line, sizeof line, pipe)) line[0] = 0;
    pclose(pipe);
  }
  const std::string text = line;
  const size_t colon = text.rfind(':');
  std::pair<std::string, unsigned> result;
  if (colon != std::string::npos && text[0] != '?')
    result = {text.substr(0, colon), static_cast<unsigned>(std::atoi(text.c_str() + colon + 1))};
  return (*lines)[place] = result;
}
std::string text_of(uint32_t place) {
  const auto [file, line] = line_of(place);
  return file.empty() ? "" : " (" + file + ":" + std::to_string(line) + ")";
}

Finding finding;

void report(FaultKind kind, const std::string& what, uint32_t place) {
  if (std::exchange(found, true)) return;
  finding.kind = static_cast<int>(kind);
  finding.what = what;
  std::tie(finding.file, finding.line) = line_of(place);
}

std::string where_of(size_t offset) {
  const std::byte* const at = __data_start + offset;
  const auto* const dynamic = static_cast<const std::byte*>(dynamic_shared());
  if (at >= dynamic && at < dynamic + block().shared_bytes())
    return "byte " + std::to_string(at - dynamic) + " of the dynamic shared memory";
  return "a static shared array";
}

void report_race(const char* does, const Record& other, const char* did, size_t offset, uint32_t place) {
  Block& b = block();
  const std::string who = other.flags & by_warps && did[0] == 'r' ? "threads of several warps" : b.name(other.thread);
  report(FaultKind::race,
         b.name(b.current()) + " " + does + " " + where_of(offset) + ", which " + who + " " + did +
             text_of(other.place) + ", and nothing orders the two",
         place);
}

struct Now {
  int thread;
  uint32_t clock, place;
};

[[gnu::noinline]] void look_at_read(Cell& cell, const Now& now, size_t offset) {
  const Record own{epoch, now.clock, now.place, static_cast<int16_t>(now.thread), 0};
  if (cell.write.epoch < first_epoch)
    return report(
        FaultKind::unwritten,
        block().name(now.thread) + " reads " + where_of(offset) + ", which no thread of the block has written",
        now.place);
  if (cell.write.flags & is_pending)
    return report(FaultKind::copy,
                  block().name(now.thread) + " reads " + where_of(offset) + ", into which an asynchronous copy of " +
                      block().name(cell.write.thread) + text_of(cell.write.place) + " is under way",
                  now.place);
  if (!is_ordered(cell.write, now.thread)) return report_race("reads", cell.write, "wrote", offset, now.place);
  Record& read = cell.read;
  if (read.epoch != epoch || read.thread == now.thread) {
    if (read.epoch == epoch && read.flags & by_lanes)
      readers[read.clock][static_cast<size_t>(now.thread % 32)] = now.clock;
    else if (!(read.epoch == epoch && read.flags & by_warps))
      read = own;
  } else if (read.flags & by_warps) {
  } else if (read.thread / 32 != now.thread / 32) {
    read.flags = by_warps;
  } else if (read.flags & by_lanes) {
    readers[read.clock][static_cast<size_t>(now.thread % 32)] = now.clock;
  } else if (is_ordered(read, now.thread)) {
    read = own;
  } else {
    Clocks clocks{};
    clocks[static_cast<size_t>(read.thread % 32)] = read.clock;
    clocks[static_cast<size_t>(now.thread % 32)] = now.clock;
    read.clock = static_cast<uint32_t>(readers.size());
    read.flags = by_lanes;
    readers.push_back(clocks);
  }
}

inline void read_cell(Cell& cell, const Now& now, size_t offset) {
  // Mostly it was written before the last barrier, and this thread or several warps have read it since.
  const bool is_written = cell.write.epoch - first_epoch < epoch - first_epoch && !(cell.write.flags & is_pending);
  const Record& read = cell.read;
  const bool is_known = read.epoch == epoch && (read.flags & by_warps ||
                                                (read.thread == now.thread && !read.flags && read.clock == now.clock));
  if (!is_written || !is_known) look_at_read(cell, now, offset);
}

bool is_ordered_read(const Record& read, int thread) {
  if (read.epoch != epoch) return true;
  if (read.flags & by_warps) return false;
  if (!(read.flags & by_lanes)) return is_ordered(read, thread);
  if (read.thread / 32 != thread / 32) return false;
  for (int lane = 0; lane < 32; ++lane)
    if (lane != thread % 32 && readers[read.clock][static_cast<size_t>(lane)] > known(thread, lane)) return false;
  return true;
}

void write_cell(Cell& cell, const Now& now, uint16_t flags, size_t offset) {
  const bool both_atomic = flags & is_atomic && cell.write.flags & is_atomic;
  if (flags & is_atomic && cell.write.epoch < first_epoch)
    return report(
        FaultKind::unwritten,
        block().name(now.thread) + " changes " + where_of(offset) + ", which no thread of the block has written",
        now.place);
  if (cell.write.epoch >= first_epoch && cell.write.flags & is_pending &&
      !(flags & is_pending && cell.write.thread == now.thread))
    return report(FaultKind::copy,
                  block().name(now.thread) + " writes " + where_of(offset) + ", into which an asynchronous copy of " +
                      block().name(cell.write.thread) + text_of(cell.write.place) + " is under way",
                  now.place);
  const char* const does = flags & is_atomic ? "changes" : "writes";
  if (!both_atomic && !is_ordered(cell.write, now.thread))
    return report_race(does, cell.write, "wrote", offset, now.place);
  if (!is_ordered_read(cell.read, now.thread)) return report_race(does, cell.read, "read", offset, now.place);
  cell.write = {epoch, now.clock, now.place, static_cast<int16_t>(now.thread), flags};
  cell.read.epoch = 0;
}

template <class F>
void for_cells(size_t offset, size_t bytes, F f) {
  Shadow& s = shadow();
  for (size_t at = offset, end = offset + bytes; at < end;) {
    const size_t word = at / 4;
    const bool is_whole = at % 4 == 0 && end - at >= 4;
    if (is_whole && s.split[word] != first_epoch) {
      f(s.words[word], at);
      at += 4;
      continue;
    }
    if (s.split[word] != first_epoch) {
      s.split[word] = first_epoch;
      for (size_t i = 0; i < 4 && word * 4 + i < s.size; ++i) s.bytes[word * 4 + i] = s.words[word];
    }
    for (const size_t stop = std::min(end, word * 4 + 4); at < stop; ++at) f(s.bytes[at], at);
  }
}

void note_place(const void* at, size_t bytes, Access access, uint16_t flags, uint32_t place) {
  if (found || !is_shared(at)) return;
  const int thread = block().current();
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(at) - __data_start);
  if (!memory::may_be_shared(at, bytes))
    return report(FaultKind::bounds,
                  block().name(thread) + (access == Access::read ? " reads" : " writes") + " byte " +
                      std::to_string(static_cast<const std::byte*>(at) - static_cast<std::byte*>(dynamic_shared())) +
                      " of the dynamic shared memory, which has " + std::to_string(block().shared_bytes()),
                  place);
  const Now now{thread, known(thread, thread % 32), place};
  if (access == Access::read)
    for_cells(offset, bytes, [&](Cell& cell, size_t byte) { read_cell(cell, now, byte); });
  else
    for_cells(offset, bytes, [&](Cell& cell, size_t byte) { write_cell(cell, now, flags, byte); });
}

}  // namespace

void begin_block() {
  first_epoch = ++epoch;
  readers.clear();
  found = false;
}

void pass_barrier() {
  ++epoch;
  readers.clear();
}

void join_lanes(int warp, unsigned mask) {
  WarpClocks& w = warps[static_cast<size_t>(warp)];
  if (w.epoch != epoch) {
    w.epoch = epoch;
    for (size_t lane = 0; lane < 32; ++lane) {
      w.known[lane].fill(0);
      w.known[lane][lane] = 1;
    }
  }
  Clocks all{};
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const Clocks& own = w.known[static_cast<size_t>(std::countr_zero(rest))];
    for (size_t i = 0; i < 32; ++i) all[i] = std::max(all[i], own[i]);
  }
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const auto lane = static_cast<size_t>(std::countr_zero(rest));
    w.known[lane] = all;
    ++w.known[lane][lane];
  }
}

void note(const void* at, size_t bytes, Access access, const void* pc) {
  if (!in_kernel) return;
  const OutOfKernel guard;
  note_place(at, bytes, access, access == Access::atomic ? is_atomic : 0, place_of(pc));
}
void note_at(const void* at, size_t bytes, Access access, const std::source_location& where) {
  if (!in_kernel) return;
  const OutOfKernel guard;
  note_place(at, bytes, access, 0, place_of(where));
}
void begin_copy(const void* to, size_t bytes, const std::source_location& where) {
  note_place(to, bytes, Access::write, is_pending, place_of(where));
}
void note_elsewhere(const void* at, Access access, const void* pc) {
  if (!in_kernel || found || block().is_own(at)) return;
  const OutOfKernel guard;
  report(FaultKind::host,
         block().name(block().current()) + (access == Access::read ? " reads" : " writes") + " memory of the host",
         place_of(pc));
}
// By the thread that began it: a write that happens now.
void finish_copy(const void* to, size_t bytes) {
  if (found || !is_shared(to)) return;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(to) - __data_start);
  const int thread = block().current();
  for_cells(offset, bytes, [&](Cell& cell, size_t) {
    cell.write.epoch = epoch;
    cell.write.clock = known(thread, thread % 32);
    cell.write.flags = 0;
  });
}

Finding take() {
  found = false;
  return std::exchange(finding, {});
}

}  // namespace phasor::emulator::tracker

namespace phasor::emulator {
void note_atomic(const void* at, size_t bytes, const void* pc) {
  if (tracks_races()) tracker::note(at, bytes, tracker::Access::atomic, pc);
}
}  // namespace phasor::emulator
