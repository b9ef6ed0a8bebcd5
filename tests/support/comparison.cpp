#include "tests/support/comparison.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "core/dispatch.hpp"

namespace phasor {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

std::string index_of(const Shape& shape, int64_t place) {
  std::string index = "]";
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index = (axis ? ", " : "") + std::to_string(place % shape[axis]) + index;
    place /= shape[axis];
  }
  return "[" + index;
}

std::string shape_or_dtype_mismatch(const Tensor& got, Dtype dtype, const Shape& shape) {
  std::ostringstream out;
  if (!got.defined())
    out << "no tensor at all; expected " << shape << " of " << dtype;
  else if (!(got.shape() == shape))
    out << "shape " << got.shape() << "; expected " << shape;
  else if (got.dtype() != dtype)
    out << "dtype " << got.dtype() << "; expected " << dtype;
  return out.str();
}

// Also infinity where exactly one of the two is infinite, or either is NaN.
double distance(double got, double expected) {
  if (got == expected) return 0;
  const double error = std::abs(got - expected);
  return std::isnan(error) ? infinity : error;
}

struct Worst {
  double error = 0, largest = 0;  // the largest error; the largest |expected| that is finite
  int64_t place = 0;
};

Worst worst_element(const std::vector<double>& got, const std::vector<double>& expected) {
  Worst worst;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(expected[i])) worst.largest = std::max(worst.largest, std::abs(expected[i]));
    if (const double error = distance(got[i], expected[i]); error > worst.error) {
      worst.error = error;
      worst.place = static_cast<int64_t>(i);
    }
  }
  return worst;
}

std::vector<double> numbers(const Tensor& t) { return t.to(Device::cpu).to(Dtype::f64).to_vector<double>(); }

}  // namespace

std::string mismatch(const Tensor& got, Dtype dtype, const Tensor& expected, double limit) {
  if (std::string wrong = shape_or_dtype_mismatch(got, dtype, expected.shape()); !wrong.empty()) return wrong;
  const std::vector<double> a = numbers(got), b = numbers(expected);
  const Worst worst = worst_element(a, b);
  const double absolute = limit * worst.largest;
  if (worst.error <= absolute) return "";
  std::ostringstream out;
  out.precision(17);
  out << "element " << index_of(expected.shape(), worst.place) << " of " << expected.shape() << ": got "
      << a[worst.place] << ", expected " << b[worst.place] << "; error ";
  out.precision(3);
  out << worst.error / absolute << " times the limit " << absolute;
  return out.str();
}

std::string bit_mismatch(const Tensor& got, const Tensor& expected) {
  if (std::string wrong = shape_or_dtype_mismatch(got, expected.dtype(), expected.shape()); !wrong.empty())
    return wrong;
  return with_any(got.dtype(), [&]<class T>() -> std::string {
    const Tensor dense_got = got.to(Device::cpu).contiguous(), dense_expected = expected.to(Device::cpu).contiguous();
    const T* const a = dense_got.data<T>();
    const T* const b = dense_expected.data<T>();
    for (int64_t i = 0; i < got.size(); ++i) {
      if (std::memcmp(a + i, b + i, sizeof(T)) == 0) continue;
      std::ostringstream out;
      out.precision(17);
      out << "bits differ at element " << index_of(got.shape(), i) << " of " << got.shape() << ": got "
          << static_cast<double>(a[i]) << ", expected " << static_cast<double>(b[i]);
      return out.str();
    }
    return "";
  });
}

double largest_of(const Tensor& x) {
  double largest = 0;
  for (const double v : x.to(Dtype::f64).to_vector<double>())
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  return largest;
}

double relative_error(const Tensor& got, const Tensor& expected) {
  require_same_shape("relative_error", "got", got, "expected", expected);
  const Worst worst = worst_element(numbers(got), numbers(expected));
  return worst.error == 0 ? 0 : worst.error / worst.largest;
}

}  // namespace phasor
