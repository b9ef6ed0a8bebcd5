// Tensors as text.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>
#include <string>
#include <vector>

#include "core/dispatch.hpp"
#include "core/tensor.hpp"

namespace phasor {
namespace {

std::string text_of(double value) {
  if (std::isnan(value)) return "nan";  // whatever its sign
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.4g", value);
  return digits;
}
std::string text_of(bf16 value) { return text_of(static_cast<double>(value)); }
std::string text_of(int64_t value) { return std::to_string(value); }
std::string text_of(int32_t value) { return std::to_string(value); }
std::string text_of(bool value) { return value ? "true" : "false"; }

constexpr int64_t shown_in_full = 1000, edge = 3;

// The indices of an axis that are shown; -1 stands for those left out.
std::vector<int64_t> shown_indices(const Tensor& x, int axis) {
  std::vector<int64_t> indices;
  const int64_t extent = x.extent(axis);
  for (int64_t i = 0; i < extent; ++i) {
    const bool left_out = x.size() > shown_in_full && i >= edge && i < extent - edge;
    if (!left_out)
      indices.push_back(i);
    else if (indices.back() != -1)
      indices.push_back(-1);
  }
  return indices;
}

template <class T>
class Printer {
 public:
  explicit Printer(const Tensor& x) : x_(x), view_(x.view<T>()) {
    for (int axis = 0; axis < x.rank(); ++axis) indices_.push_back(shown_indices(x, axis));
    if (x.size() > 0) visit(0, 0, [this](const std::string& value) { width_ = std::max(width_, value.size()); });
  }

  void print(std::ostream& out) { print_axis(out, 0, 0); }

 private:
  template <class F>
  void visit(int axis, int64_t offset, F&& f) const {
    if (axis == x_.rank()) return f(text_of(view_.data[offset]));
    for (const int64_t index : indices_[static_cast<size_t>(axis)])
      if (index >= 0) visit(axis + 1, offset + index * view_.strides[axis], f);
  }

  void print_axis(std::ostream& out, int axis, int64_t offset) const {
    if (axis == x_.rank()) {
      const std::string value = text_of(view_.data[offset]);
      out << std::string(x_.rank() > 0 ? width_ - value.size() : 0, ' ') << value;
      return;
    }
    // Rows one below the other, planes a line apart.
    const bool innermost = axis + 1 == x_.rank();
    const std::string between = innermost ? ", "
                                          : "," + std::string(static_cast<size_t>(x_.rank() - axis - 1), '\n') +
                                                std::string(static_cast<size_t>(axis + 1), ' ');
    out << '[';
    bool first = true;
    for (const int64_t index : indices_[static_cast<size_t>(axis)]) {
      if (!first) out << between;
      first = false;
      if (index < 0)
        out << "...";
      else
        print_axis(out, axis + 1, offset + index * view_.strides[axis]);
    }
    out << ']';
  }

  const Tensor& x_;
  View<T> view_;
  std::vector<std::vector<int64_t>> indices_;
  size_t width_ = 0;
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x.defined()) return out << "no tensor";
  const Tensor here = x.to(Device::cpu);
  with_any(x.dtype(), [&]<class T>() { Printer<T>(here).print(out); });
  return out << "  " << x.shape() << ' ' << x.dtype();
}

}  // namespace phasor
