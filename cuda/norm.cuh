// What the norms share: the gradients of their weights. A block takes a range of rows and adds up their columns, in
// registers where rows fit there; the sums of blocks are added afterwards, in their order.
#pragma once

#include "core/ops/reduce.hpp"
#include "cuda/rows.cuh"

namespace phasor::cuda {
namespace {

// Rows begin .. end - 1 of a block.
struct RowRange {
  int64_t begin, end;
  __device__ explicit RowRange(int64_t rows)
      : begin(rows * blockIdx.x / gridDim.x), end(rows * (blockIdx.x + 1) / gridDim.x) {}
};

// The sums of a thread's columns over the rows of its team.
template <class Plan, class A>
class ColumnSums {
  static constexpr bool in_registers = Plan::packs > 0;

 public:
  // `part`: the row [width] that gets the sums of the block.
  __device__ explicit ColumnSums(A* part) : part_(part) {}

  // values[k] of column i + k, in pack p; `is_first`: of the first row that the team takes.
  __device__ void add(int p, int i, bool is_first, const A (&values)[Plan::count]) {
#pragma unroll
    for (int k = 0; k < Plan::count; ++k) {
      if constexpr (in_registers)
        sums_[p][k] += values[k];
      else
        part_[i + k] = is_first ? values[k] : part_[i + k] + values[k];
    }
  }

  // Adds the teams of the block, in their order. Every thread comes.
  __device__ void finish(int width) {
    if constexpr (in_registers) {
      constexpr int widest = Plan::team * Plan::packs * Plan::count;
      if constexpr (Plan::teams == 1) {
        each_pack(width, [&](int p, int i) { store_pack<Plan::count>(part_ + i, pack_of(p)); });
      } else {
        __shared__ Pack<A, Plan::count> of_teams[Plan::teams][widest / Plan::count];
        __syncthreads();  // all have read what another sum left there
        each_pack(width, [&](int p, int i) { of_teams[threadIdx.y][i / Plan::count] = pack_of(p); });
        __syncthreads();
        const auto number = [&](int team, int column) {
          return of_teams[team][column / Plan::count].values[column % Plan::count];
        };
        for (int column = threadIdx.y * Plan::team + threadIdx.x; column < width; column += Plan::threads) {
          A sum = number(0, column);
#pragma unroll
          for (int team = 1; team < Plan::teams; ++team) sum += number(team, column);
          part_[column] = sum;
        }
      }
    }
  }

 private:
  template <class F>
  static __device__ void each_pack(int width, const F& f) {
#pragma unroll
    for (int p = 0; p < Plan::packs; ++p) {
      const int i = (p * Plan::team + Plan::thread()) * Plan::count;
      if (i < width) f(p, i);
    }
  }
  __device__ Pack<A, Plan::count> pack_of(int p) const {
    Pack<A, Plan::count> pack;
#pragma unroll
    for (int k = 0; k < Plan::count; ++k) pack.values[k] = sums_[p][k];
    return pack;
  }

  A* part_;
  A sums_[in_registers ? Plan::packs : 1][Plan::count] = {};
};

// Blocks over which the rows are shared: two for each multiprocessor of the largest GPU, more where they are small, and
// several rows for each team. The same on every GPU, because the order of additions depends on it.
template <class Plan>
int64_t row_blocks(int64_t rows) {
  constexpr int64_t most = int64_t{264} * (Plan::threads < 256 ? 256 / Plan::threads : 1);
  return std::clamp<int64_t>(pieces(rows, int64_t{4} * Plan::teams), 1, most);
}

// Sums [parts, width] of blocks, added up.
inline Tensor sum_of_parts(const Tensor& parts, Dtype dtype) {
  return sum(parts, Shape{1, parts.extent(1)}).reshape({parts.extent(1)}).to(dtype);
}

// A parameter as the kernels take it: in the type that x is computed in, without gaps.
template <class T>
Tensor parameter(const Tensor& vector) {
  return vector.to(dtype_of<Computed<T>>).contiguous();
}
template <class A>
bool has_good_address(const Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.data<A>()) % 16 == 0;
}

}  // namespace
}  // namespace phasor::cuda
