#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

/// The elements of a vector as a host tensor [n], which the vector must outlive. A Tensor does not
/// know whether it may be written: that of a const vector may not.
template <class T>
Tensor tensor_of(const std::vector<T>& v) {
  return Tensor(const_cast<T*>(v.data()), Shape{std::int64_t(v.size())});
}

}  // namespace lacuna
