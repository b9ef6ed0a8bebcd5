// Every OpCase runs its kernels in these orders of threads and blocks. No single one shows every mistake.
#include <doctest/doctest.h>

#include "tests/cuda/emulator/emulator.hpp"
#include "tests/support/op_checks.hpp"

using namespace phasor;

static const bool orders_are_set = [] {
  using emulator::Order;
  thread_orders = {[] { emulator::set_order(Order::ascending); }, [] { emulator::set_order(Order::descending); },
                   [] { emulator::set_order(Order::lockstep); }, [] { emulator::set_order(Order::shuffled, 1); }};
  return true;
}();

TEST_CASE("cuda: op cases run in four orders of threads") {
  CHECK(orders_are_set);
  CHECK(thread_orders.size() == 4);
}
