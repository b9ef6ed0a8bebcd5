// From what attention.cu has prepared to what the kernels of the tensor cores take.
#pragma once

#include "core/tensor.hpp"
#include "cuda/ops/attention_problem.cuh"
#include "cuda/ops/attention_tensor_scores.cuh"

namespace phasor::cuda::attention_tensor {

// A plan, and the memory that it points to beside the problem's.
struct Prepared {
  Plan plan;
  Rotation rotation;
  Tensor by_distance, segment_ranges;
};
Prepared prepared(const AttentionProblem& problem);

inline Rows<const bf16> to_read(const AttentionRows& x) {
  return {static_cast<const bf16*>(x.data), x.batch_step, x.head_step, static_cast<int>(x.row_step)};
}
inline Rows<bf16> to_write(const AttentionRows& x) {
  return {static_cast<bf16*>(x.data), x.batch_step, x.head_step, static_cast<int>(x.row_step)};
}

// Of the tiles that hold rows so wide.
inline int tile_width(int width) { return width <= 32 ? 32 : width <= 64 ? 64 : 128; }

// f.template operator()<qk_width, v_width>() for the tiles that hold the problem's widths with the fewest zeros.
template <class F>
void with_widths(const AttentionProblem& problem, F&& f) {
  const int largest = problem.qk_dim > problem.v_dim ? problem.qk_dim : problem.v_dim;
  if (largest <= 32)
    f.template operator()<32, 32>();
  else if (largest <= 64 && problem.v_dim <= 32)
    f.template operator()<64, 32>();
  else if (largest <= 64)
    f.template operator()<64, 64>();
  else if (problem.v_dim <= 64)
    f.template operator()<128, 64>();
  else
    f.template operator()<128, 128>();
}

// What a kernel does with scores or tiles beside multiplying them: of each problem one. Turned kernels have square
// tiles alone.
enum class Kind { plain, biased, turned };

// f.template operator()<kind, qk_width, v_width>() for the tiles that hold the problem's widths with the fewest zeros.
template <class F>
void with_kernel(const AttentionProblem& problem, F&& f) {
  if (problem.components > 0) {
    const int width = tile_width(problem.qk_dim);  // and of v
    if (width == 32) return f.template operator()<Kind::turned, 32, 32>();
    if (width == 64) return f.template operator()<Kind::turned, 64, 64>();
    return f.template operator()<Kind::turned, 128, 128>();
  }
  with_widths(problem, [&]<int qk_width, int v_width>() {
    if (problem.by_distance.data || problem.by_position.data)
      f.template operator()<Kind::biased, qk_width, v_width>();
    else
      f.template operator()<Kind::plain, qk_width, v_width>();
  });
}

}  // namespace phasor::cuda::attention_tensor
