#pragma once
#include <gtest/gtest.h>

#include <string>

#include "kernels/platform/emulated/emulator.h"

namespace lacuna::testing {

/// Tests of the emulator itself, with a kernel's threads in each order.
class EmulatorTest : public ::testing::TestWithParam<emulator::Order> {
 protected:
  EmulatorTest() { emulator::set_order(GetParam(), 7); }
  ~EmulatorTest() override { emulator::set_order(emulator::Order::forward); }
};
inline constexpr emulator::Order kOrders[] = {emulator::Order::forward, emulator::Order::reverse,
                                              emulator::Order::shuffled};
inline std::string order_name(const ::testing::TestParamInfo<emulator::Order>& order) {
  constexpr const char* names[] = {"Forward", "Reverse", "Shuffled"};
  return names[int(order.param)];
}

}  // namespace lacuna::testing
