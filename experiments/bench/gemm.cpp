// phasor bench gemm: the matrix products of a training step, as core/ops/matmul.hpp does them.
#include <fmt/format.h>

#include "core/ops/matmul.hpp"
#include "core/random.hpp"
#include "experiments/bench/bench.hpp"

namespace phasor {
namespace {

// a [m, k] times b [k, n]; any of them may be a transposed view.
Subject product(const std::string& name, const Tensor& a, const Tensor& b) {
  return {.name = name,
          .run = [=] { matmul(a, b); },
          .work = 2.0 * static_cast<double>(a.extent(0) * a.extent(1) * b.extent(1)),
          .check =
              [=] {
                // All of the product, but the reference, a plain loop, does its first and last rows only.
                const Tensor y = matmul(a, b);
                const int64_t rows = a.extent(0), some = std::min<int64_t>(rows, 8);
                for (const int64_t first : {int64_t{0}, rows - some})
                  require_close("bench gemm", y.slice(0, first, first + some),
                                reference::matmul(a.slice(0, first, first + some), b));
              }};
}

// y = x w forward, dx = dy w^T, dw = x^T dy;  x [tokens, inputs], w [inputs, outputs].
void add_layer(std::vector<Subject>& subjects, int64_t tokens, int64_t inputs, int64_t outputs) {
  Random random{.seed = 3};
  const Tensor x = normal({tokens, inputs}, 0, 1, Dtype::f32, random),
               w = normal({inputs, outputs}, 0, 1, Dtype::f32, random),
               dy = normal({tokens, outputs}, 0, 1, Dtype::f32, random);
  const std::string name = fmt::format("{} -> {}, ", inputs, outputs);
  subjects.push_back(product(name + "forward", x, w));
  subjects.push_back(product(name + "input gradient", dy, w.transpose(0, 1)));
  subjects.push_back(product(name + "weight gradient", x.transpose(0, 1), dy));
}

BenchGroup group_of(const BenchSize& size, const BenchOptions& options) {
  const ModelSettings& model = size.settings.model;
  const int64_t tokens = size.settings.train.batch * size.settings.train.length;
  std::vector<Subject> subjects;
  add_layer(subjects, tokens, model.width, model.width);
  add_layer(subjects, tokens, model.width, model.hidden);
  add_layer(subjects, tokens, model.hidden, model.width);
  add_layer(subjects, tokens, model.width, byte_vocabulary);
  BenchGroup group = time_operations(title_of(size), subjects, options);
  const double peak = options.threads * *group.rows.back().rate;
  for (BenchRow& row : group.rows) row.percents.emplace_back("% FMA", 100 * *row.rate / peak);
  return group;
}

}  // namespace

BenchResult bench_gemm(const std::vector<BenchSize>& sizes, const BenchOptions& options) {
  BenchResult result{.name = "gemm", .threads = options.threads};
  result.notes = {"Products of x [tokens, inputs] and w [inputs, outputs]: x w, dy w^T and x^T dy.",
                  ceiling_note(options) + " % FMA: the same of multiply-adds in registers alone."};
  for (const BenchSize& size : sizes) result.groups.push_back(group_of(size, options));
  return result;
}

}  // namespace phasor
