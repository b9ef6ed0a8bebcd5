// Every OpCase runs its kernel in these orders of threads and blocks. No single one shows every mistake.
#include <doctest/doctest.h>

#include "tests/cuda/emulator/emulator.hpp"
#include "tests/support/op_checks.hpp"

using namespace phasor;

static const bool orders_are_set = [] {
  using emulator::Order;
  thread_orders = {[] { emulator::set_order(Order::shuffled, 1); }};
  // What the sanitizers look for, a place outside of a tensor, does not depend on the order.
  if (emulator::is_sanitized()) return true;
  for (const Order order : {Order::ascending, Order::descending, Order::lockstep})
    thread_orders.push_back([=] { emulator::set_order(order); });
  return true;
}();

TEST_CASE("cuda: op cases run in four orders of threads, with the sanitizers in one") {
  CHECK(orders_are_set);
  CHECK(thread_orders.size() == (emulator::is_sanitized() ? 1 : 4));
}
