// The emulator itself: it must run right kernels and find every planted mistake.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cuda/emulator_support.hpp"

using namespace phasor;
using namespace phasor::planted;
using emulator::Fault;
using emulator::FaultKind;
using emulator::Order;

namespace {

struct Ordering {
  Order order;
  uint64_t seed;
};
constexpr Ordering orders[] = {{Order::ascending, 0}, {Order::descending, 0}, {Order::lockstep, 0},
                               {Order::shuffled, 1},  {Order::shuffled, 2},   {Order::shuffled, 3}};

struct Outcome {
  bool is_fault = false, is_right = false;
  FaultKind kind{};
  std::string message;
  unsigned line = 0;
};

Outcome outcome(const Kernel& kernel, Version version, Ordering o) {
  const std::vector<int> x = some_numbers();
  const Block from(x), to(numbers);
  emulator::set_order(o.order, o.seed);
  Outcome result;
  try {
    kernel.run(version, to.data, from.data);
    const std::vector<int> y = to.values();
    result.is_right = true;
    for (int i = 0; i < numbers; ++i) result.is_right = result.is_right && y[i] == kernel.reference(x.data(), i);
  } catch (const Fault& fault) {
    result.is_fault = true;
    result.kind = fault.kind;
    result.message = fault.what();
    result.line = fault.line;
  }
  return result;
}

bool is_in(FaultKind kind, const std::vector<FaultKind>& kinds) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

TEST_CASE("emulator: right kernels give the reference's numbers in every order") {
  const Defaults defaults;
  REQUIRE(kernels().size() >= 40);
  for (const Kernel& kernel : kernels())
    for (const Ordering& order : orders) {
      const Outcome found = outcome(kernel, Version::right, order);
      CHECK_MESSAGE(found.is_right, std::string(kernel.name), ", order ", static_cast<int>(order.order), ", seed ",
                    order.seed, ": ", found.message);
    }
}

TEST_CASE("emulator: every planted mistake is found and named") {
  const Defaults defaults;
  for (const Kernel& kernel : kernels()) {
    // A sanitizer ends the program: the last test shows it in a child.
    if (emulator::is_sanitized() && is_in(FaultKind::bounds, kernel.kinds)) continue;
    CAPTURE(std::string(kernel.name));
    bool is_wrong_somewhere = false;
    for (const Ordering& order : orders) {
      const Outcome found = outcome(kernel, Version::wrong, order);
      is_wrong_somewhere = is_wrong_somewhere || (!found.is_fault && !found.is_right);
      const bool must_fault =
          kernel.found == Found::by_fault || (kernel.found != Found::by_result && emulator::tracks_races());
      if (kernel.found == Found::by_result) CHECK(!found.is_right);
      if (!must_fault) continue;
      CAPTURE(static_cast<int>(order.order));
      CAPTURE(found.message);
      REQUIRE(found.is_fault);
      CHECK(is_in(found.kind, kernel.kinds));
      if (is_in(found.kind, {FaultKind::race, FaultKind::unwritten}) && kernel.kinds.size() > 1) continue;
      CHECK(found.message.find(kernel.message) != std::string::npos);
    }
    if (kernel.found == Found::by_tracker && !emulator::tracks_races()) CHECK(is_wrong_somewhere);
  }
}

TEST_CASE("emulator: sanitizers stop a kernel outside its memory") {
  if (!emulator::is_sanitized()) return;
  const Block x(some_numbers()), y(numbers);
  const auto words = [&](Outside what) {
    const End end = end_of_child([&] { step_outside(what, y.data, x.data); });
    CHECK_FALSE(end.is_good);
    return end.words;
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has(words(Outside::global), "use-after-poison"));
  CHECK(has(words(Outside::static_shared), "global-buffer-overflow"));
  CHECK(has(words(Outside::dynamic_shared), "use-after-poison"));
  CHECK(has(words(Outside::row_of_a_tile), "out of bounds for type 'int [8]'"));
  CHECK(has(words(Outside::misaligned), "misaligned address"));
  // A block that was given back stays forbidden for a while.
  int* freed = nullptr;
  {
    const Block gone(numbers);
    freed = gone.data;
  }
  CHECK(has(end_of_child([&] { add_one(y.data, freed, numbers); }).words, "use-after-poison"));
  add_one(y.data, x.data, numbers);
  CHECK(y.values()[5] == x.values()[5] + 1);
}
