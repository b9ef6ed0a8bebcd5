#include "tests/support/op_case.hpp"

#include <doctest/doctest.h>
#include <oneapi/tbb/task_scheduler_observer.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "autograd/gradcheck.hpp"
#include "core/dispatch.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "tests/support/comparison.hpp"

namespace phasor {
namespace {

// How an argument lies in memory. All but the first stand among elements that must not be read.
enum class Placement { contiguous, guarded, transposed, outer_transposed, gapped, spread };
constexpr Placement strided_placements[] = {Placement::transposed, Placement::outer_transposed, Placement::gapped,
                                            Placement::spread};

std::ostream& operator<<(std::ostream& out, Placement placement) {
  constexpr const char* names[] = {"contiguous", "guarded", "transposed", "outer_transposed", "gapped", "spread"};
  return out << names[static_cast<int>(placement)];
}

struct Placed {
  Tensor block, value;  // value is a view into block
};

// A block of NaN; of an id that no table has, for ids.
Tensor poison(const Shape& shape, Dtype dtype) {
  return Tensor::full(shape, is_float(dtype) ? std::numeric_limits<double>::quiet_NaN() : -123456789.0, dtype);
}

Tensor reversed(Tensor t, int first, int last) {
  for (; first < last; ++first, --last) t = t.transpose(first, last);
  return t;
}

// A block of the shape of x, each extent larger by 3, and the view that leaves out 1 before and 2 after.
Placed gapped(const Shape& shape, Dtype dtype) {
  Shape outer = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) outer = outer.with(axis, shape[axis] + 3);
  const Tensor block = poison(outer, dtype);
  Tensor view = block;
  for (int axis = 0; axis < shape.rank(); ++axis) view = view.slice(axis, 1, 1 + shape[axis]);
  return {block, view};
}

Placed placed(const Tensor& x, Placement placement) {
  const int rank = x.rank();
  Placed p;
  if (placement == Placement::contiguous) {
    p.block = p.value = Tensor::empty(x.shape(), x.dtype());
  } else if (placement == Placement::guarded) {
    constexpr int64_t before = 67, after = 64;  // an odd start: misaligned for every vector width
    p.block = poison({before + x.size() + after}, x.dtype());
    p.value = p.block.slice(0, before, before + x.size()).reshape(x.shape());
  } else if (placement == Placement::gapped) {
    p = gapped(x.shape(), x.dtype());
  } else if (placement == Placement::spread) {  // every second element of a row
    if (rank == max_rank) return placed(x, Placement::gapped);
    p.block = poison(x.shape().insert(-1, 2), x.dtype());
    p.value = p.block.select(-1, 1);
  } else {  // axes in reverse order in memory: all of them, or all but the last
    const int last = placement == Placement::transposed ? rank - 1 : rank - 2;
    const Tensor like = reversed(x, 0, last);
    p = gapped(like.shape(), x.dtype());
    p.value = reversed(p.value, 0, last);
  }
  copy_into(p.value, x);
  return p;
}

Tensors values_of(const std::vector<Placed>& arguments) {
  Tensors values;
  for (const Placed& argument : arguments) values.push_back(argument.value);
  return values;
}

std::vector<Placed> all_placed(const Tensors& arguments, Placement placement) {
  std::vector<Placed> result;
  for (const Tensor& argument : arguments) result.push_back(placed(argument, placement));
  return result;
}

Tensors in_dtype(Tensors arguments, Dtype dtype) {
  for (Tensor& argument : arguments)
    if (is_float(argument.dtype())) argument = argument.to(dtype);
  return arguments;
}

bool is_finite(const Tensor& t) {
  if (!is_float(t.dtype())) return true;
  for (const double value : t.to(Dtype::f64).to_vector<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

int64_t lanes(Dtype dtype) { return dtype == Dtype::f32 ? simd::lanes<float> : simd::lanes<double>; }

std::vector<int64_t> widths_around_lanes(Dtype dtype) {
  const int64_t n = lanes(dtype);
  return {1, n - 1, n, n + 1, 3 * n + 2, 4 * n - 1, 4 * n + 1};  // kernels unroll by four vectors
}

int64_t longest_axis(const Tensors& arguments) {
  int64_t longest = 1;
  for (const Tensor& argument : arguments)
    for (const int64_t extent : argument.shape()) longest = std::max(longest, extent);
  return longest;
}

int64_t largest_size(const Tensors& arguments) {
  int64_t largest = 1;
  for (const Tensor& argument : arguments) largest = std::max(largest, argument.size());
  return largest;
}

std::string describe(const Tensors& arguments) {
  std::ostringstream out;
  for (const Tensor& argument : arguments) out << ' ' << argument.shape() << ' ' << argument.dtype();
  return out.str();
}

// Counts the threads that enter the arena in which it is made. It must be switched off before that arena ends.
class Participants : tbb::task_scheduler_observer {
 public:
  Participants() { observe(true); }
  ~Participants() { observe(false); }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

 private:
  void on_scheduler_entry(bool) override {
    const std::lock_guard lock(mutex_);
    threads_.insert(std::this_thread::get_id());
  }
  std::mutex mutex_;
  std::set<std::thread::id> threads_;
};

class Checker {
 public:
  explicit Checker(const OpCase& op_case) : case_(op_case) {}

  std::vector<std::string> run() {
    for (size_t i = 0; i < case_.samples.size(); ++i) {
      sample_ = &case_.samples[i];
      sample_name_ = "sample " + std::to_string(i);
      for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
        for (const int64_t width : widths_around_lanes(dtype)) attempt([&] { values({3, width}, dtype); });
        for (const Extents extents : case_.empty) attempt([&] { empty(extents, dtype); });
        if (case_.differentiable)
          for (const int64_t width : widths_around_lanes(dtype)) attempt([&] { gradient_layouts({2, width}, dtype); });
      }
      if (case_.differentiable) attempt([&] { gradients(); });
      if (case_.is_parallel) attempt([&] { threads(); });
      attempt([&] { enlargements(); });
      if (!case_.takes_any_dtype) attempt([&] { wrong_dtypes(); });
    }
    sample_name_ = "refuses";
    for (const Refusal& refusal : case_.refuses) must_throw(refusal.says, refusal.call, refusal.says);
    return std::move(complaints_);
  }

 private:
  template <class... Parts>
  void complain(const Parts&... parts) {
    std::ostringstream out;
    out << case_.op << ", " << sample_name_ << ": ";
    (out << ... << parts);
    complaints_.push_back(out.str());
  }

  void expect(const std::string& wrong, const std::string& what) {
    if (!wrong.empty()) complain(what, ": ", wrong);
  }

  // An exception is a complaint, and the other checks go on.
  template <class F>
  void attempt(F f) {
    try {
      f();
    } catch (const std::exception& error) {
      complain("threw: ", error.what());
    }
  }

  template <class F>
  void must_throw(const std::string& what, F f, const std::string& says = "") {
    try {
      f();
      complain(what, ": accepted; must throw");
    } catch (const Error& error) {
      const std::string message = error.what();
      if (!message.starts_with(case_.op + ":"))
        complain(what, ": the error does not name the op: ", message);
      else if (message.find(says) == std::string::npos)
        complain(what, ": the error does not say '", says, "': ", message);
    } catch (const std::exception& error) {
      complain(what, ": not one of the library's errors: ", error.what());
    }
  }

  Tensors made(Extents extents, Dtype dtype) {
    Random random{.seed = 7};
    return in_dtype(sample_->make(extents, random), dtype);
  }

  double value_limit(const Tensors& arguments, Dtype dtype, const Tensor& expected) {
    const int64_t terms = longest_axis(arguments);
    if (dtype == Dtype::f64) return tolerance::f64(terms);
    return tolerance::f32(terms, relative_error(case_.reference(arguments), expected));
  }

  void values(Extents extents, Dtype dtype) {
    const Tensors arguments = made(extents, dtype);
    const std::string where = describe(arguments);
    const Tensor expected = case_.reference(in_dtype(arguments, Dtype::f64));
    const double limit = value_limit(arguments, dtype, expected);
    // Placed before anything has run: an op that writes to its arguments would spoil the comparison too.
    const std::vector<Placed> guarded = all_placed(arguments, Placement::guarded);
    const std::vector<Placed> untouched = all_placed(arguments, Placement::guarded);
    const Tensor y = case_.run(arguments);
    expect(mismatch(y, dtype, expected, limit), "values of" + where);
    if (!is_finite(y)) complain("values of", where, ": not finite");
    if (case_.differentiable)
      expect(bit_mismatch(case_.differentiable({arguments.begin(), arguments.end()}).value(), y),
             "the op of autograd, compared with the op of core, for" + where);

    expect(bit_mismatch(case_.run(values_of(guarded)), y), "NaN around" + where);
    for (size_t i = 0; i < guarded.size(); ++i)
      expect(bit_mismatch(guarded[i].block, untouched[i].block),
             "argument " + std::to_string(i) + " was written to, of" + where);

    // All arguments placed alike, then each alone: a kernel may take its path from the first argument's strides.
    for (const Placement placement : strided_placements) {
      for (int only = arguments.size() > 1 ? -1 : 0; only < static_cast<int>(arguments.size()); ++only) {
        Tensors strided = values_of(all_placed(arguments, only < 0 ? placement : Placement::contiguous));
        if (only >= 0) strided[only] = placed(arguments[only], placement).value;
        std::ostringstream what;
        what << (only < 0 ? "all arguments " : "argument " + std::to_string(only) + ' ') << placement << ", of"
             << where;
        expect(mismatch(case_.run(strided), dtype, expected, limit), what.str());
      }
    }
  }

  void empty(Extents extents, Dtype dtype) {
    const Tensors arguments = made(extents, dtype);
    const Tensor expected = case_.reference(in_dtype(arguments, Dtype::f64));
    expect(mismatch(case_.run(arguments), dtype, expected, value_limit(arguments, dtype, expected)),
           "empty," + describe(arguments));
  }

  // The gradient of each argument; undefined for ids. An op that does not record gives zeros.
  Tensors gradients_of(const Tensors& arguments, const std::function<Tensor(const Tensor&)>& cotangent_for) {
    std::vector<Var> variables;
    for (const Tensor& argument : arguments)
      variables.push_back(is_float(argument.dtype()) ? Var::leaf(argument) : Var(argument));
    const Var output = case_.differentiable(variables);
    const Gradients of = output.needs_gradient() ? backward(output, cotangent_for(output.value())) : Gradients();
    Tensors result;
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (!is_float(arguments[i].dtype()))
        result.emplace_back();
      else
        result.push_back(of.has(variables[i]) ? of[variables[i]]
                                              : Tensor::zeros(arguments[i].shape(), arguments[i].dtype()));
    }
    return result;
  }

  static Tensor cotangent(const Tensor& output) {
    Random random{.seed = 11};
    return normal(output.shape(), 0, 1, Dtype::f32, random).to(output.dtype());
  }

  void gradients() {
    for (const int64_t width : {int64_t{1}, int64_t{3}, lanes(Dtype::f64) + 1}) {
      const Tensors arguments = made({2, width}, Dtype::f64);
      const GradcheckResult result = gradcheck(case_.differentiable, arguments);
      if (!(result.worst <= case_.gradient_limit)) complain("gradient,", describe(arguments), ": ", result.message);
    }
  }

  // Gradients of any layout, in either dtype, against the plain f64 ones, which gradients() holds against differences.
  void gradient_layouts(Extents extents, Dtype dtype) {
    const Tensors arguments = made(extents, dtype);
    const Tensors expected = gradients_of(in_dtype(arguments, Dtype::f64), cotangent);
    const int64_t terms = largest_size(arguments);
    const double limit = dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32_gradient(terms);
    const auto compare = [&](const Tensors& got, Placement placement) {
      for (size_t i = 0; i < got.size(); ++i) {
        if (!expected[i].defined()) continue;
        std::ostringstream what;
        what << "gradient of argument " << i << ", " << placement << ", of" << describe(arguments);
        expect(mismatch(got[i], dtype, expected[i], limit), what.str());
      }
    };
    compare(gradients_of(arguments, cotangent), Placement::contiguous);
    for (const Placement placement : strided_placements)
      compare(gradients_of(values_of(all_placed(arguments, placement)),
                           [&](const Tensor& output) { return placed(cotangent(output), placement).value; }),
              placement);
  }

  void threads() {
    const Tensors arguments = made(case_.large, Dtype::f32);
    const auto everything = [&] {
      Tensors results = {case_.run(arguments)};
      if (case_.differentiable)
        for (Tensor& gradient : gradients_of(arguments, cotangent)) results.push_back(std::move(gradient));
      return results;
    };
    Tensors with_one;
    with_threads(1, [&] { with_one = everything(); });
    for (const int threads : {2, 8}) {
      size_t took_part = 0;
      bool same = true;
      // Workers need a moment to arrive: small inputs are run again until a third thread has come, for 2 seconds at
      // most.
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(2);
      with_threads(threads, [&] {
        Participants participants;
        do {
          const Tensors with_several = everything();
          for (size_t i = 0; same && i < with_one.size(); ++i) {
            if (!with_one[i].defined()) continue;
            const std::string wrong = bit_mismatch(with_several[i], with_one[i]);
            same = wrong.empty();
            std::ostringstream what;
            what << threads << " threads against 1, " << (i == 0 ? "value" : "gradient") << " of"
                 << describe(arguments);
            expect(wrong, what.str());
          }
          took_part = participants.count();
        } while (same && threads > 2 && took_part <= 2 && std::chrono::steady_clock::now() < give_up);
      });
      if (same && threads > 2 && took_part <= 2) complain("only ", took_part, " of ", threads, " threads took part");
    }
  }

  bool is_free(int argument, int axis, int rank) const {
    for (const ArgumentAxis& free : sample_->free_axes)
      if (free.argument == argument && (free.axis == any_axis || (free.axis + rank) % rank == axis)) return true;
    return false;
  }

  void enlargements() {
    const Tensors arguments = made({4, 5}, Dtype::f64);
    for (int argument = 0; argument < static_cast<int>(arguments.size()); ++argument) {
      const Tensor& x = arguments[argument];
      for (int axis = 0; axis < x.rank(); ++axis) {
        const int64_t extent = x.extent(axis);
        Tensors enlarged = arguments;
        enlarged[argument] = Tensor::empty(x.shape().with(axis, extent + 1), x.dtype());
        copy_into(enlarged[argument].slice(axis, 0, extent), x);
        copy_into(enlarged[argument].slice(axis, extent, extent + 1), x.slice(axis, 0, 1));
        const std::string what = "argument " + std::to_string(argument) + " enlarged on axis " + std::to_string(axis) +
                                 "," + describe(enlarged);
        if (is_free(argument, axis, x.rank())) {
          attempt([&] {
            expect(mismatch(case_.run(enlarged), Dtype::f64, case_.reference(enlarged),
                            tolerance::f64(longest_axis(enlarged))),
                   what);
          });
        } else {
          must_throw(what, [&] { case_.run(enlarged); });
        }
      }
    }
  }

  void wrong_dtypes() {
    const Tensors arguments = made({4, 5}, Dtype::f64);
    int floats = 0;
    for (const Tensor& argument : arguments) floats += is_float(argument.dtype());
    for (size_t i = 0; i < arguments.size(); ++i) {
      std::vector<Dtype> wrong = {Dtype::boolean, is_float(arguments[i].dtype()) ? Dtype::i64 : Dtype::f64};
      if (is_float(arguments[i].dtype()) && floats > 1) wrong.push_back(Dtype::f32);
      for (const Dtype dtype : wrong) {
        Tensors changed = arguments;
        changed[i] = changed[i].to(dtype);
        must_throw("dtypes" + describe(changed), [&] { case_.run(changed); });
      }
    }
  }

  const OpCase& case_;
  const Sample* sample_ = nullptr;
  std::string sample_name_;
  std::vector<std::string> complaints_;
};

}  // namespace

std::vector<std::string> complaints(const OpCase& op_case) { return Checker(op_case).run(); }

void check_op(const OpCase& op_case) {
  const std::vector<std::string> wrong = complaints(op_case);
  for (const std::string& complaint : wrong) FAIL_CHECK(complaint);
  CHECK(wrong.empty());
}

Tensor random_tensor(const Shape& shape, Random& random) { return normal(shape, 0, 1, Dtype::f64, random); }

Tensor random_ids(const Shape& shape, int64_t bound, Random& random) {
  std::vector<int64_t> ids(static_cast<size_t>(shape.size()));
  for (int64_t& id : ids) id = random.below(bound);
  return Tensor::of<int64_t>(shape, ids);
}

}  // namespace phasor
