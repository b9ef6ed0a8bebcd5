// The checkers are checked: each planted fault is one that a kernel or a rule could have, and must be complained about.
#include "tests/support/op_case.hpp"

#include <doctest/doctest.h>
#include <oneapi/tbb/task_arena.h>

#include <limits>
#include <mutex>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/reduce.hpp"
#include "core/ops/softmax.hpp"
#include "core/parallel.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;

namespace {

Tensors matrix(Extents e, Random& random) { return {random_tensor({e.rows, e.width}, random)}; }

OpCase softmax_with(std::function<Tensor(const Tensors&)> run,
                    std::function<Var(const std::vector<Var>&)> differentiable) {
  return {.op = "softmax",
          .run = std::move(run),
          .reference = [](const Tensors& x) { return reference::softmax(x[0]); },
          .differentiable = std::move(differentiable),
          .samples = {{matrix, {{0, any_axis}}}}};
}

Tensor good(const Tensors& x) { return softmax(x[0]); }

// softmax with another rule.
OpCase softmax_with_rule(std::function<Tensor(const Tensor& y, const Tensor& dy)> rule) {
  return softmax_with(good, [=](const std::vector<Var>& x) {
    const Tensor y = softmax(x[0].value());
    return record("softmax", y, {x[0]}, [=](const Tensor& dy, Wanted) { return Tensors{rule(y, dy)}; });
  });
}

// add with another kernel or rule.
OpCase add_with(std::function<Tensor(const Tensor&, const Tensor&)> run, Rule rule) {
  return {.op = "add",
          .run = [=](const Tensors& x) { return run(x[0], x[1]); },
          .reference = [](const Tensors& x) { return add(x[0], x[1]); },
          .differentiable =
              [=](const std::vector<Var>& x) {
                return record("add", run(x[0].value(), x[1].value()), {x[0], x[1]}, rule);
              },
          .samples = {{[](Extents e, Random& random) {
                         return Tensors{random_tensor({e.rows, e.width}, random), random_tensor({e.width}, random)};
                       },
                       {{0, 0}}}},
          .empty = {{0, 5}, {3, 0}}};
}

std::vector<Tensor> add_rule(const Tensor& dy, Wanted) { return {dy, dy}; }

// y = 2 x by another kernel, for faults of memory.
OpCase twice_with(std::function<Tensor(const Tensor&)> run) {
  return {.op = "twice",
          .run = [=](const Tensors& x) { return run(x[0]); },
          .reference = [](const Tensors& x) { return add(x[0], x[0]); },
          .differentiable = {},
          .samples = {{matrix, {{0, any_axis}}}},
          .empty = {{0, 5}, {3, 0}},
          .is_parallel = false};
}

template <class F>
Tensor for_each_element(const Tensor& x, F f) {
  const Tensor y = Tensor::empty(x.shape(), x.dtype());
  const auto fill_in = [&]<class T>(T) {
    for (int64_t row = 0; row < x.extent(0); ++row)
      for (int64_t column = 0; column < x.extent(1); ++column)
        y.view<T>()(row, column) = f.template operator()<T>(row, column);
  };
  if (x.dtype() == Dtype::f64)
    fill_in(double{});
  else if (x.dtype() == Dtype::f32)
    fill_in(float{});
  else
    fail<DtypeError>("twice", "needs f32 or f64, got ", x.dtype());
  return y;
}

Tensor doubled(const Tensor& x) {
  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) { return 2 * x.view<T>()(row, column); });
}

void must_complain(const OpCase& op_case, const std::string& about) {
  const std::vector<std::string> found = complaints(op_case);
  bool named = false;
  for (const std::string& complaint : found) named = named || complaint.find(about) != std::string::npos;
  const std::string first = found.empty() ? "" : found[0];
  CHECK_MESSAGE(named, "no complaint about '", about, "' among ", found.size(), ": ", first);
}

void must_not_complain(const OpCase& op_case) {
  const std::vector<std::string> found = complaints(op_case);
  const std::string first = found.empty() ? "" : found[0];
  CHECK_MESSAGE(found.empty(), first);
}

}  // namespace

TEST_CASE("checker: what is right draws no complaint") {
  must_not_complain(softmax_with_rule([](const Tensor& y, const Tensor& dy) { return softmax_backward(y, dy); }));
  must_not_complain(add_with([](const Tensor& a, const Tensor& b) { return add(a, b); }, add_rule));
  must_not_complain(twice_with(doubled));
}

TEST_CASE("checker: a zero gradient, which sum(output) cannot see") {
  must_complain(
      softmax_with_rule([](const Tensor&, const Tensor& dy) { return Tensor::zeros(dy.shape(), dy.dtype()); }),
      "gradient, [2, 3]");
}

TEST_CASE("checker: no gradient recorded at all") {
  must_complain(softmax_with(good, [](const std::vector<Var>& x) { return Var(softmax(x[0].value())); }),
                "gradient, [2, 3]");
}

TEST_CASE("checker: a missing term") {
  must_complain(softmax_with_rule([](const Tensor& y, const Tensor& dy) { return mul(y, dy); }), "gradient, [2, 3]");
}

TEST_CASE("checker: the wrong sign") {
  must_complain(add_with([](const Tensor& a, const Tensor& b) { return add(a, b); },
                         [](const Tensor& dy, Wanted) {
                           return Tensors{dy, sub(Tensor::zeros(dy.shape(), dy.dtype()), dy)};
                         }),
                "gradcheck: input 1");
}

TEST_CASE("checker: a missing broadcast sum") {
  must_complain(add_with([](const Tensor& a, const Tensor& b) { return add(a, b); },
                         [](const Tensor& dy, Wanted) {
                           return Tensors{dy, dy.select(0, 0)};
                         }),
                "gradcheck: input 1");
}

TEST_CASE("checker: a rule that is right for contiguous gradients only") {
  must_complain(softmax_with_rule([](const Tensor& y, const Tensor& dy) {
                  return softmax_backward(y, dy.is_contiguous() ? dy : Tensor::full(dy.shape(), 1, dy.dtype()));
                }),
                "gradient of argument 0, gapped");
}

TEST_CASE("checker: a mask that is off by one") {
  // y[i] = sum of x[j] over j <= i; the fault leaves out j = i.
  const auto running_sum = [](const Tensor& x, int64_t reach) {
    const Tensor y = Tensor::zeros(x.shape(), x.dtype());
    for (int64_t i = 0; i < x.extent(1); ++i)
      for (int64_t j = 0; j < std::min(i + reach, x.extent(1)); ++j) add_into(y.select(1, i), x.select(1, j));
    return y;
  };
  must_complain({.op = "running_sum",
                 .run = [=](const Tensors& x) { return running_sum(x[0], 0); },
                 .reference = [=](const Tensors& x) { return running_sum(x[0], 1); },
                 .differentiable = {},
                 .samples = {{matrix, {{0, any_axis}}}},
                 .is_parallel = false},
                "values of");
}

TEST_CASE("checker: the other rotary layout") {
  must_complain(
      {.op = "rotary",
       .run = [](const Tensors& x) { return rotary(x[0], x[1], x[2], RotaryLayout::half_split); },
       .reference = [](const Tensors& x) { return reference::rotary(x[0], x[1], x[2], RotaryLayout::interleaved); },
       .differentiable = {},
       .samples = {{[](Extents e, Random& random) {
         return Tensors{random_tensor({1, 1, e.rows, 2 * e.width}, random), random_tensor({e.rows, e.width}, random),
                        random_tensor({e.rows, e.width}, random)};
       }}}},
      "values of");
}

TEST_CASE("checker: a sum whose order depends on the number of threads") {
  const auto sum_by_threads = [](const Tensor& x) {
    const Tensor flat = x.reshape({x.size()});
    const int64_t tiles = std::min<int64_t>(tbb::this_task_arena::max_concurrency(), std::max<int64_t>(x.size(), 1));
    const int64_t length = (x.size() + tiles - 1) / tiles;
    std::vector<Tensor> partial(static_cast<size_t>(tiles));
    parallel_for(tiles, 1, [&](int64_t begin, int64_t) {
      partial[begin] = sum(flat.slice(0, std::min(begin * length, x.size()), std::min((begin + 1) * length, x.size())));
    });
    const Tensor total = Tensor::zeros({1}, x.dtype());
    for (const Tensor& part : partial) add_into(total, part);
    return total;
  };
  must_complain({.op = "sum",
                 .run = [=](const Tensors& x) { return sum_by_threads(x[0]); },
                 .reference = [](const Tensors& x) { return reference::sum(x[0]).reshape({1}); },
                 .differentiable = {},
                 .samples = {{matrix, {{0, any_axis}}}}},
                "threads against 1");
}

TEST_CASE("checker: an op that keeps to one thread") {
  OpCase one_thread = twice_with(doubled);
  one_thread.is_parallel = true;
  must_complain(one_thread, "only 1 of 8 threads took part");
}

TEST_CASE("checker: a read beyond the row, even where it is multiplied by 0") {
  must_complain(twice_with([](const Tensor& x) {
                  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) {
                    const View<T> in = x.view<T>();
                    // The last row has nothing behind it that may be read.
                    const bool beyond = column + 1 == x.extent(1) && row + 1 < x.extent(0);
                    return 2 * in(row, column) + (beyond ? 0 * *(&in(row, column) + in.strides[1]) : T(0));
                  });
                }),
                "gapped");
}

TEST_CASE("checker: a read in front of the block") {
  must_complain(twice_with([](const Tensor& x) {
                  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) {
                    const View<T> in = x.view<T>();
                    // Only a start that is not aligned has something in front of it here.
                    const bool before = row == 0 && column == 0 && reinterpret_cast<uintptr_t>(in.data) % 64 != 0;
                    return 2 * in(row, column) + (before ? 0 * in.data[-1] : T(0));
                  });
                }),
                "NaN around");
}

TEST_CASE("checker: strides ignored") {
  must_complain(twice_with([](const Tensor& x) {
                  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) {
                    return 2 * x.data<T>()[row * x.extent(1) + column];
                  });
                }),
                "transposed");
}

TEST_CASE("checker: an argument written to") {
  must_complain(twice_with([](const Tensor& x) {
                  const Tensor y = for_each_element(
                      x, [&]<class T>(int64_t row, int64_t column) { return 2 * x.view<T>()(row, column); });
                  if (x.size() > 0) fill(x.slice(0, 0, 1), 0);
                  return y;
                }),
                "was written to");
}

TEST_CASE("checker: a NaN in the result") {
  must_complain(twice_with([](const Tensor& x) {
                  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) {
                    return row == 2 ? std::numeric_limits<T>::quiet_NaN() : 2 * x.view<T>()(row, column);
                  });
                }),
                "values of");
}

TEST_CASE("checker: too few digits in f32") {
  must_complain(twice_with([](const Tensor& x) {
                  return for_each_element(x, [&]<class T>(int64_t row, int64_t column) {
                    return x.view<T>()(row, column) * (sizeof(T) == 4 ? T(2 * (1 + 3e-6)) : T(2));
                  });
                }),
                "f32");
}

TEST_CASE("checker: a rule that is wrong for a single element") {
  must_complain(softmax_with_rule([](const Tensor& y, const Tensor& dy) {
                  return y.size() == 1 ? Tensor::full(y.shape(), 0.1, y.dtype()) : softmax_backward(y, dy);
                }),
                "gradient, [1, 1]");
}

TEST_CASE("checker: a value that is wrong for a single element") {
  must_complain(twice_with([](const Tensor& x) { return x.size() == 1 ? x : add(x, x); }), "values of [1, 1]");
}

TEST_CASE("checker: tensors without elements") {
  const auto claims = [](std::vector<Extents> empty, std::function<Tensor(const Tensor&)> run) {
    OpCase op_case = twice_with(std::move(run));
    op_case.empty = std::move(empty);
    return op_case;
  };
  const auto refusing = [](const char* op) {
    return [op](const Tensor& x) {
      require(x.extent(1) > 0, op, "x is ", x.shape(), ": axis 1 is 0");
      return doubled(x);
    };
  };
  must_not_complain(claims({{0, 5}, {3, 0}}, doubled));
  must_not_complain(claims({{0, 5}}, refusing("twice")));
  // Taken but not claimed, each way to have no element.
  must_complain(claims({{3, 0}}, doubled), "few elements, [0, 5]");
  must_complain(claims({{0, 5}}, doubled), "few elements, [3, 0]");
  must_complain(claims({{0, 5}}, doubled), "few elements, [0, 0]");
  must_complain(claims({{0, 5}}, refusing("kernel_7")), "does not name the op");
  must_complain(claims({{0, 5}, {3, 0}}, refusing("twice")), "axis 1 is 0");
  must_complain(claims({{0, 5}, {3, 0}}, [](const Tensor& x) { return add(x.slice(0, 0, x.size() ? 3 : 0), x); }),
                "threw");
  OpCase takes_none = claims({{0, 5}, {3, 0}}, doubled);
  takes_none.takes_one_element = false;
  must_complain(takes_none, "few elements, [1, 1]");
  // The gradient of b is a sum over no row.
  must_complain(add_with([](const Tensor& a, const Tensor& b) { return add(a, b); },
                         [](const Tensor& dy, Wanted) {
                           return Tensors{dy, dy.size() ? dy : Tensor::full(dy.shape().with(0, 1), 1, dy.dtype())};
                         }),
                "gradient of argument 1, contiguous, of [0, 5]");
}

TEST_CASE("checker: a case without samples") {
  OpCase without = softmax_with(good, {});
  without.samples.clear();
  must_complain(without, "no sample");
}

TEST_CASE("checker: faults around a condition") {
  // y = x where the condition holds, else 0. The condition is read as bytes: what stands around it is no boolean.
  const auto choose_with = [](auto holds, bool checks_dtype) {
    return OpCase{
        .op = "choose",
        .run =
            [=](const Tensors& x) {
              require_same_shape("choose", "condition", x[0], "x", x[1]);
              if (checks_dtype)
                require<DtypeError>(x[0].dtype() == Dtype::boolean, "choose", "condition is ", x[0].dtype());
              require<DtypeError>(is_float(x[1].dtype()), "choose", "x is ", x[1].dtype());
              const Tensor condition = x[0].to(Dtype::boolean);
              return for_each_element(x[1], [&]<class T>(int64_t row, int64_t column) {
                const View<bool> c = condition.view<bool>();
                const auto* const byte = reinterpret_cast<const unsigned char*>(&c(row, column));
                return holds(byte, c, row, column) ? x[1].view<T>()(row, column) : T(0);
              });
            },
        .reference = [](const Tensors& x) { return mul(x[0].to(x[1].dtype()), x[1]); },
        .differentiable = {},
        .samples = {{[](Extents e, Random& random) {
          return Tensors{random_booleans({e.rows, e.width}, random), random_tensor({e.rows, e.width}, random)};
        }}},
        .empty = {{0, 5}, {3, 0}},
        .is_parallel = false};
  };
  const auto own = [](const unsigned char* byte, const View<bool>&, int64_t, int64_t) { return *byte == 1; };
  const auto beyond = [](const unsigned char* byte, const View<bool>& c, int64_t row, int64_t column) {
    const bool is_last = column + 1 == c.shape[1] && row + 1 < c.shape[0];
    return *byte == 1 || (is_last && byte[c.strides[1]] > 1);
  };
  must_not_complain(choose_with(own, true));
  must_complain(choose_with(beyond, true), "gapped");
  must_complain(choose_with(own, false), "dtypes [4, 5] i64 [4, 5] f64: accepted");
  must_complain(choose_with(own, false), "dtypes [4, 5] f64 [4, 5] f64: accepted");
}

TEST_CASE("checker: a wrong shape accepted, a wrong dtype accepted, an error without a name") {
  const auto cut_to_fit = [](const Tensor& a, const Tensor& b) {
    return add(a.slice(1, 0, std::min(a.extent(1), b.extent(0))), b.slice(0, 0, std::min(a.extent(1), b.extent(0))));
  };
  must_complain(add_with(cut_to_fit, add_rule), "enlarged on axis 1");
  must_complain(add_with([](const Tensor& a, const Tensor& b) { return add(a, b.to(a.dtype())); }, add_rule), "dtypes");
  // What the op of core refuses, that of autograd must refuse too.
  OpCase cuts_in_autograd = add_with(cut_to_fit, add_rule);
  cuts_in_autograd.run = [](const Tensors& x) { return add(x[0], x[1]); };
  must_complain(cuts_in_autograd, "autograd, argument 0 enlarged on axis 1");
  must_complain(add_with(
                    [](const Tensor& a, const Tensor& b) {
                      require(a.extent(1) == b.extent(0), "kernel_7", "no");
                      return add(a, b);
                    },
                    add_rule),
                "does not name the op");
  // The whole shape of what was enlarged, and the dtype that came.
  const auto add_checked_by = [](auto check) {
    return add_with(
        [=](const Tensor& a, const Tensor& b) {
          check(a, b);
          return add(a, b);
        },
        add_rule);
  };
  must_complain(add_checked_by([](const Tensor& a, const Tensor& b) {
                  require(a.extent(1) == b.extent(0), "add", "axis 1 is ", a.extent(1), " and ", b.extent(0));
                }),
                "does not say '[4, 6]'");
  must_complain(add_checked_by([](const Tensor& a, const Tensor& b) {
                  require<DtypeError>(is_float(a.dtype()) && a.dtype() == b.dtype(), "add", "needs f32 or f64");
                }),
                "does not say 'got f32'");
  must_complain(add_checked_by([](const Tensor& a, const Tensor& b) {
                  if (a.extent(1) != b.extent(0)) throw std::invalid_argument("add: [4, 6] [6]");
                }),
                "not one of the library's errors");
  OpCase refuses_nothing = softmax_with(good, {});
  refuses_nothing.refuses = {{[] {}, "anything"}};
  must_complain(refuses_nothing, "must throw");
}
