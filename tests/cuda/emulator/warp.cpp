// Shuffles, votes and matrix instructions: what the lanes that have met give each other.
#include <cmath>
#include <cstring>

#include "tests/cuda/emulator/block.hpp"
#include "tests/cuda/emulator/instructions.hpp"
#include "tests/cuda/emulator/tracker.hpp"

namespace phasor::emulator {
namespace {

constexpr unsigned all_lanes = 0xffffffffu;

// The lane whose value comes to `lane`; itself where a shift reaches beyond its part of the warp.
int source_lane(const Arrival& a, int lane) {
  const int first = lane / a.width * a.width, at = lane % a.width;
  switch (a.kind) {
    case Meeting::shuffle:
      return first + (a.argument & (a.width - 1));
    case Meeting::shuffle_up:
      return at < a.argument ? lane : lane - a.argument;
    case Meeting::shuffle_down:
      return at + a.argument >= a.width ? lane : lane + a.argument;
    default: {
      // CUDA lets a lane read from an earlier part of the warp, not from a later one.
      const int from = lane ^ a.argument;
      return from >= first + a.width ? lane : from;
    }
  }
}

void shuffle(Block& block, unsigned mask, Arrival* const* lanes) {
  uint64_t values[32] = {};
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    values[lane] = lanes[lane]->value;
  }
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    Arrival& own = *lanes[lane];
    const int width = own.width;
    if (width < 1 || width > 32 || (width & (width - 1)) != 0)
      block.fault(FaultKind::mask,
                  "a shuffle among " + std::to_string(width) + " lanes; needs a power of 2, at most 32", &own.where);
    const int from = source_lane(own, lane) & 31;
    if (!(mask >> from & 1))
      block.fault(FaultKind::mask,
                  "lane " + std::to_string(lane) + " of a shuffle asks for the value of lane " + std::to_string(from) +
                      ", which is not in the mask",
                  &own.where);
    own.value = values[from];
  }
}

void vote(unsigned mask, Arrival* const* lanes) {
  unsigned ballot = 0;
  Meeting kind{};
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    ballot |= static_cast<unsigned>(lanes[lane]->value) << lane;
    kind = lanes[lane]->kind;
  }
  const unsigned answer = kind == Meeting::ballot ? ballot : kind == Meeting::any ? ballot != 0 : ballot == mask;
  for (unsigned rest = mask; rest; rest &= rest - 1) lanes[std::countr_zero(rest)]->value = answer;
}

float upper(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }
float lower(uint32_t pair) { return std::bit_cast<float>(pair << 16); }

// From the fragments to whole matrices, a plain product, and back.
void multiply(Arrival* const* lanes) {
  float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, pair = lane % 4 * 2;
    const auto* ra = static_cast<const uint32_t*>(lanes[lane]->operands[1]);
    const auto* rb = static_cast<const uint32_t*>(lanes[lane]->operands[2]);
    const auto* rd = static_cast<const float*>(lanes[lane]->operands[0]);
    for (int r = 0; r < 4; ++r) {
      const int row = group + r % 2 * 8, column = pair + r / 2 * 8;
      a[row][column] = lower(ra[r]);
      a[row][column + 1] = upper(ra[r]);
    }
    for (int r = 0; r < 2; ++r) {
      b[pair + 8 * r][group] = lower(rb[r]);
      b[pair + 8 * r + 1][group] = upper(rb[r]);
    }
    for (int r = 0; r < 4; ++r) d[group + r / 2 * 8][pair + r % 2] = rd[r];
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, pair = lane % 4 * 2;
    auto* const rd = static_cast<float*>(lanes[lane]->operands[0]);
    for (int r = 0; r < 4; ++r) rd[r] = d[group + r / 2 * 8][pair + r % 2];
  }
}

void load(Block& block, Arrival* const* lanes) {
  const int matrices = lanes[0]->argument;
  const bool is_transposed = lanes[0]->value != 0;
  uint16_t values[4][8][8];
  for (int matrix = 0; matrix < matrices; ++matrix)
    for (int row = 0; row < 8; ++row) {
      const Arrival& giver = *lanes[8 * matrix + row];
      const void* const from = giver.operands[1];
      if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
        block.fault(FaultKind::lanes,
                    "lane " + std::to_string(8 * matrix + row) + " gives a row that is at no multiple of 16 bytes",
                    &giver.where);
      std::memcpy(values[matrix][row], from, 16);
    }
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, pair = lane % 4 * 2;
    auto* const to = static_cast<uint32_t*>(lanes[lane]->operands[0]);
    for (int matrix = 0; matrix < matrices; ++matrix) {
      const auto& m = values[matrix];
      const uint16_t first = is_transposed ? m[pair][group] : m[group][pair];
      const uint16_t second = is_transposed ? m[pair + 1][group] : m[group][pair + 1];
      to[matrix] = static_cast<uint32_t>(second) << 16 | first;
    }
  }
}

}  // namespace

void exchange(Block& block, unsigned mask, Arrival* const* lanes) {
  switch (lanes[std::countr_zero(mask)]->kind) {
    case Meeting::syncwarp:
      return;
    case Meeting::ballot:
    case Meeting::any:
    case Meeting::all:
      return vote(mask, lanes);
    case Meeting::load_matrix:
      return load(block, lanes);
    case Meeting::multiply:
      return multiply(lanes);
    default:
      return shuffle(block, mask, lanes);
  }
}

void load_matrix(uint32_t* to, int matrices, const void* row, bool is_transposed, const std::source_location& where) {
  // The addresses of lanes beyond the matrices are not looked at.
  if (tracks_races() && block().current() % 32 < 8 * matrices) tracker::note_at(row, 16, tracker::Access::read, where);
  Arrival arrival{
      .mask = all_lanes, .kind = Meeting::load_matrix, .where = where, .value = is_transposed, .argument = matrices};
  arrival.operands[0] = to;
  arrival.operands[1] = const_cast<void*>(row);
  meet(arrival);
}

void multiply_bf16(float* d, const uint32_t* a, const uint32_t* b, const std::source_location& where) {
  Arrival arrival{.mask = all_lanes, .kind = Meeting::multiply, .where = where};
  arrival.operands[0] = d;
  arrival.operands[1] = const_cast<uint32_t*>(a);
  arrival.operands[2] = const_cast<uint32_t*>(b);
  meet(arrival);
}

uint16_t rounded_bf16(float x) {
  if (std::isnan(x)) return 0x7fff;  // as the instruction has it
  const uint32_t word = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}

}  // namespace phasor::emulator
