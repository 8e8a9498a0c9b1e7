#include "comm/host_staging.h"

#include "kernels/ops.h"

namespace lacuna {
namespace {

std::byte* bytes_of(Tensor t) { return static_cast<std::byte*>(t.data); }

}  // namespace

/// The smallest free buffer that holds `t`, as a tensor of its shape.
Tensor HostStaging::take(Tensor t) {
  CHECK(ops_, "a collective on a device tensor, ", t, ", needs a communicator made with Ops");
  Buffer* best = nullptr;
  for (Buffer& b : buffers_)
    if (!b.taken && std::int64_t(b.bytes.size()) >= t.bytes() &&
        (!best || b.bytes.size() < best->bytes.size()))
      best = &b;
  if (!best) {
    best = &buffers_.emplace_back();
    best->bytes.resize(std::size_t(t.bytes()));
  }
  best->taken = true;
  return {best->bytes.data(), t.shape, t.dtype};
}

std::byte* HostStaging::read(Tensor t) {
  if (t.place == Place::host) return bytes_of(t);
  const Tensor host = take(t);
  ops_->copy(host, t);
  ops_->synchronize();
  return bytes_of(host);
}

std::byte* HostStaging::written(Tensor t) {
  if (t.place == Place::host) return bytes_of(t);
  const Tensor host = take(t);
  returns_.emplace_back(t, host);
  return bytes_of(host);
}

std::byte* HostStaging::read_and_written(Tensor t) {
  if (t.place == Place::host) return bytes_of(t);
  const Tensor host = take(t);
  ops_->copy(host, t);
  ops_->synchronize();
  returns_.emplace_back(t, host);
  return bytes_of(host);
}

bool HostStaging::pending(Tensor t) const {
  for (const auto& [device, host] : returns_)
    if (bytes_of(t) < bytes_of(device) + device.bytes() &&
        bytes_of(device) < bytes_of(t) + t.bytes())
      return true;
  return false;
}

void HostStaging::finish() {
  for (const auto& [device, host] : returns_) ops_->copy(device, host);
  if (!returns_.empty()) ops_->synchronize();  // the buffers may be overwritten from now on
  returns_.clear();
  for (Buffer& b : buffers_) b.taken = false;
}

}  // namespace lacuna
