// The twin of an op on the GPU: values and gradients against the CPU's, in every dtype, layout and order of threads.
#include <cmath>
#include <sstream>

#include "core/device.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

namespace phasor {
namespace {

Tensors in_double(Tensors arguments) {
  for (Tensor& argument : arguments)
    if (is_float(argument.dtype())) argument = argument.to(Dtype::f64);
  return arguments;
}

Tensors on_gpu(const Tensors& arguments, Placement placement) {
  return values_of(all_placed(arguments, placement, Device::cuda));
}

// f once for each order of threads; the results must have the same bits.
Tensors in_every_order(Complaints& complaints, const std::string& what, const std::function<Tensors()>& f) {
  if (thread_orders.empty()) return f();
  Tensors first;
  for (size_t order = 0; order < thread_orders.size(); ++order) {
    thread_orders[order]();
    const Tensors results = f();
    if (order == 0) first = results;
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i].defined())
        complaints.expect(bit_mismatch(results[i], first[i]),
                          "thread order " + std::to_string(order) + " against the first, " + what);
  }
  thread_orders[0]();
  return first;
}

// f in one order, another for each placement.
Tensors in_one_order(Placement placement, const std::function<Tensors()>& f) {
  if (thread_orders.empty()) return f();
  thread_orders[static_cast<size_t>(placement) % thread_orders.size()]();
  Tensors results = f();
  thread_orders[0]();
  return results;
}

// Where a CPU plays the GPU every order and placement takes its time.
enum class Effort {
  all,         // every order with contiguous arguments, the other placements in one order each
  placements,  // every placement in one order
  few,         // two placements in one order
};

class OnGpu {
 public:
  explicit OnGpu(const SampleCheck& check) : check_(check), case_(check.op_case), complaints_(check.complaints) {}

  void run() {
    const SmallExtents small = small_extents(case_, check_.sample);
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      if (dtype == Dtype::bf16 && !case_.takes_bf16) continue;
      attempt({3, 7}, dtype, Effort::all);
      attempt({3, 70}, dtype, Effort::placements);
      // Around a warp, and around the 16 bytes that a thread reads at once.
      if (&check_.sample == &case_.samples.front())
        for (const int64_t width : {1, 32, 33}) attempt({3, width}, dtype, Effort::few);
      for (const Extents extents : small.taken) attempt(extents, dtype, Effort::few);
    }
    complaints_.attempt([&] { large(); });
  }

 private:
  void attempt(Extents extents, Dtype dtype, Effort effort) {
    complaints_.attempt([&] { values(extents, dtype, effort); });
    if (case_.differentiable) complaints_.attempt([&] { gradients(extents, dtype, effort); });
  }

  Tensors in_orders(Effort effort, Placement placement, const std::string& what, const std::function<Tensors()>& f) {
    const bool in_all = effort == Effort::all && placement == Placement::contiguous;
    return in_all ? in_every_order(complaints_, what, f) : in_one_order(placement, f);
  }

  double value_limit(const Tensors& arguments, Dtype dtype, const Tensor& expected) {
    if (dtype == Dtype::f64 || expected.size() == 0) return tolerance::cuda_f64;
    const double plain = relative_error(case_.reference(arguments), expected);
    return dtype == Dtype::f32 ? tolerance::f32(longest_axis(arguments), plain) : tolerance::cuda_bf16(plain);
  }

  void values(Extents extents, Dtype dtype, Effort effort) {
    const Tensors arguments = check_.made(extents, dtype);
    const Tensor expected = case_.reference(in_double(arguments));
    const Dtype result = is_float(expected.dtype()) ? dtype : expected.dtype();
    const double limit = value_limit(arguments, dtype, expected);
    for (const Placement placement : placements(effort)) {
      std::ostringstream what;
      what << "on the GPU, " << placement << ", values of" << describe(arguments);
      const Tensors y =
          in_orders(effort, placement, what.str(), [&] { return Tensors{case_.run(on_gpu(arguments, placement))}; });
      if (y[0].defined() && !y[0].is_on(Device::cuda)) complaints_.add(what.str(), ": the result is on the CPU");
      complaints_.expect(mismatch(y[0], result, expected, limit), what.str());
    }
  }

  // What rounding leaves of a gradient is measured against the largest of all arguments' gradients: that of one may be
  // a difference of terms that cancel.
  void gradients(Extents extents, Dtype dtype, Effort effort) {
    const Tensors arguments = check_.made(extents, dtype);
    // The cotangent of both is rounded alike, as the arguments are: a sum of it may cancel.
    const Tensors expected = gradients_of(
        case_, in_double(arguments), [&](const Tensor& output) { return cotangent(output).to(dtype).to(Dtype::f64); });
    const double limit = dtype == Dtype::f64   ? tolerance::cuda_f64
                         : dtype == Dtype::f32 ? tolerance::f32_gradient(longest_axis(arguments))
                                               : tolerance::cuda_bf16_gradient;
    for (const Placement placement : {Placement::contiguous, Placement::transposed}) {
      std::ostringstream what;
      what << "on the GPU, " << placement << ", gradients of" << describe(arguments);
      const Tensors got = in_orders(effort, placement, what.str(), [&] {
        return gradients_of(case_, on_gpu(arguments, placement),
                            [](const Tensor& output) { return cotangent(output.to(Device::cpu)).to(output.device()); });
      });
      double largest = 0;
      for (const Tensor& gradient : expected)
        if (gradient.defined()) largest = std::max(largest, largest_of(gradient));
      for (size_t i = 0; i < got.size(); ++i) {
        if (!expected[i].defined()) continue;
        const double own = largest_of(expected[i]), noise = dtype == Dtype::f64 ? 0x1p-48 : limit;
        complaints_.expect(
            mismatch(got[i], dtype, expected[i], own > 0 ? std::max(limit, noise * largest / own) : limit),
            what.str() + ", argument " + std::to_string(i));
      }
    }
  }

  // Several blocks: right, and the same bits in every order.
  void large() {
    const Tensors arguments = check_.made(moderate(), Dtype::f32);
    const std::string what = "on the GPU, several blocks," + describe(arguments);
    const Tensors y = in_every_order(complaints_, what, [&] {
      Tensors results = {case_.run(on_gpu(arguments, Placement::contiguous))};
      if (case_.differentiable)
        for (Tensor& gradient : gradients_of(case_, on_gpu(arguments, Placement::contiguous), [](const Tensor& output) {
               return cotangent(output.to(Device::cpu)).to(output.device());
             }))
          results.push_back(std::move(gradient));
      return results;
    });
    const Tensor expected = case_.reference(in_double(arguments));
    complaints_.expect(mismatch(y[0], is_float(expected.dtype()) ? Dtype::f32 : expected.dtype(), expected,
                                value_limit(arguments, Dtype::f32, expected)),
                       what);
  }

  // Less than what occupies 8 threads of a CPU: more than a tile of 64 rows, and quick where a CPU plays the GPU.
  Extents moderate() const { return {std::min<int64_t>(75, case_.large.rows), case_.large.width}; }

  static std::vector<Placement> placements(Effort effort) {
    if (effort == Effort::few) return {Placement::contiguous, Placement::guarded};
    std::vector<Placement> all = {Placement::contiguous, Placement::guarded};
    all.insert(all.end(), std::begin(strided_placements), std::end(strided_placements));
    return all;
  }

  const SampleCheck& check_;
  const OpCase& case_;
  Complaints& complaints_;
};

}  // namespace

void check_on_gpu(const SampleCheck& check) { OnGpu(check).run(); }

}  // namespace phasor
