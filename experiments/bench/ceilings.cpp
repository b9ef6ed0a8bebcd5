// The loops behind the ceilings.
#include "experiments/bench/ceilings.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace {

// More chains than latency times multiply-adds a cycle (4 x 2 on today's processors), few enough for 16 registers.
constexpr int chains = 12;
constexpr int64_t links = 1 << 14;

// x = x factor + summand, over and over, in `chains` independent chains from `start`: the values come from memory, so
// that the compiler cannot know that two chains are the same.
float multiply_adds(const float* start, float factor, float summand) {
  using namespace simd;
  const Vec<float> a = set(factor), b = set(summand);
  Vec<float> x[chains];
  for (int chain = 0; chain < chains; ++chain) x[chain] = set(start[chain]);
  for (int64_t link = 0; link < links; ++link)
    for (int chain = 0; chain < chains; ++chain) x[chain] = multiply_add(x[chain], a, b);
  Vec<float> sum = x[0];
  for (int chain = 1; chain < chains; ++chain) sum = sum + x[chain];
  return sum_lanes<float>(sum);
}

}  // namespace

Subject gemm_ceiling() {
  constexpr int64_t n = 1024;
  const Tensor a = Tensor::full({n, n}, 0.5, Dtype::f32), b = Tensor::full({n, n}, 0.25, Dtype::f32),
               c = Tensor::empty({n, n}, Dtype::f32);
  const auto run = [=] {
    gemm<float>(Trans::no, Trans::no, n, n, n, 1, a.data<float>(), n, b.data<float>(), n, 0, c.data<float>(), n);
  };
  return {.name = "sgemm(1024^3), 1 core", .run = run, .work = 2.0 * n * n * n, .check = [=] {
            run();
            require_close("bench: sgemm", c, Tensor::full({n, n}, 128, Dtype::f32));
          }};
}

Subject multiply_add_ceiling() {
  const Tensor start = Tensor::zeros({chains}, Dtype::f32), result = Tensor::zeros({1}, Dtype::f32);
  const auto run = [=] { result.data<float>()[0] = multiply_adds(start.data<float>(), 0.5f, 1); };
  const auto lanes = static_cast<double>(simd::lanes<float>);
  return {.name = "multiply-adds, 1 core", .run = run, .work = 2.0 * lanes * chains * links, .check = [=] {
            run();  // x = x / 2 + 1 ends at 2
            require_close("bench: multiply-adds", result, Tensor::full({1}, 2 * lanes * chains, Dtype::f32));
          }};
}

Subject copy_ceiling(int64_t bytes, const Tensor& source, const Tensor& destination) {
  const int64_t count = bytes / 2 / static_cast<int64_t>(sizeof(float));
  const Tensor from = source.slice(0, 0, count), to = destination.slice(0, 0, count);
  const auto run = [=] {
    const float* const x = from.data<float>();
    float* const y = to.data<float>();
    parallel_for(count, grain_for(1), [&](int64_t begin, int64_t end) {
      simd::map<float>(
          end - begin, y + begin, [](auto v) { return v; }, x + begin);
    });
  };
  return {.name = fmt::format("copy of {:.3g} MB", static_cast<double>(bytes) / 2 * 1e-6),
          .run = run,
          .work = static_cast<double>(2 * count) * sizeof(float),
          .check = [=] {
            run();
            require<NumericError>(std::equal(to.data<float>(), to.data<float>() + count, from.data<float>()),
                                  "bench: copy", "the copy differs from what was copied; a wrong number is not timed");
          }};
}

}  // namespace phasor
