#include "training/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "core/check.h"
#include "formats/checksum.h"

namespace lacuna {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie");

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// --- protobuf's wire format: a key (field number, kind of value), then the value ----------------

void varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += char(value | 0x80);
  out += char(value);
}
void integer_field(std::string& out, unsigned field, std::uint64_t value) {
  varint(out, field << 3 | 0u);
  varint(out, value);
}
void double_field(std::string& out, unsigned field, double value) {
  varint(out, field << 3 | 1u);
  put(out, value);
}
void float_field(std::string& out, unsigned field, float value) {
  varint(out, field << 3 | 5u);
  put(out, value);
}
/// A string or an embedded message.
void bytes_field(std::string& out, unsigned field, std::string_view bytes) {
  varint(out, field << 3 | 2u);
  varint(out, bytes.size());
  out += bytes;
}

// --- fields of the messages, from event.proto, summary.proto and tensor.proto -------------------

constexpr unsigned kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5,
                   kEventSessionLog = 7;
constexpr unsigned kSessionLogStatus = 1, kStatusStart = 1;
constexpr unsigned kSummaryValue = 1;
constexpr unsigned kValueTag = 1, kValueSimple = 2, kValueTensor = 8, kValueMetadata = 9;
constexpr unsigned kMetadataPlugin = 1, kPluginName = 1;
constexpr unsigned kTensorDType = 1, kTensorShape = 2, kTensorString = 8, kDTypeString = 7;
constexpr unsigned kShapeDimension = 2, kDimensionSize = 1;

std::uint32_t masked_crc(std::string_view data) {
  const std::uint32_t crc = crc32c(data.data(), data.size());
  return std::rotr(crc, 15) + 0xa282ead8u;
}

std::filesystem::path event_file(const std::filesystem::path& folder) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "localhost");
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  for (int n = 0;; ++n) {
    std::filesystem::path path = folder / str("events.out.tfevents.", seconds.count(), ".",
                                              host.data(), ".", getpid(), ".", n);
    if (!std::filesystem::exists(path)) return path;
  }
}

}  // namespace

std::string tfrecord(std::string_view data) {
  std::string record;
  put(record, std::uint64_t{data.size()});
  put(record, masked_crc(record));
  record += data;
  put(record, masked_crc(data));
  return record;
}

TensorBoardLog::TensorBoardLog(const std::filesystem::path& folder, std::int64_t resumed_step)
    : file_(std::make_unique<AppendFile>(event_file(folder))) {
  std::string version;
  bytes_field(version, kEventFileVersion, "brain.Event:2");
  event(0, version);
  std::string start, session;
  integer_field(start, kSessionLogStatus, kStatusStart);
  bytes_field(session, kEventSessionLog, start);
  event(resumed_step + 1, session);
}

void TensorBoardLog::event(std::int64_t step, std::string_view payload) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  std::string message;
  double_field(message, kEventWallTime, now.count());
  integer_field(message, kEventStep, std::uint64_t(step));
  message += payload;
  file_->append(tfrecord(message));
}

void TensorBoardLog::scalars(std::int64_t step, std::span<const Scalar> values) {
  std::string summary, payload;
  for (const Scalar& scalar : values) {
    std::string value;
    bytes_field(value, kValueTag, scalar.tag);
    float_field(value, kValueSimple, float(scalar.value));
    bytes_field(summary, kSummaryValue, value);
  }
  bytes_field(payload, kEventSummary, summary);
  event(step, payload);
}

void TensorBoardLog::text(std::int64_t step, std::string_view tag, std::string_view text) {
  std::string plugin, metadata, dimension, shape, tensor, value, summary, payload;
  bytes_field(plugin, kPluginName, "text");
  bytes_field(metadata, kMetadataPlugin, plugin);
  integer_field(dimension, kDimensionSize, 1);
  bytes_field(shape, kShapeDimension, dimension);
  integer_field(tensor, kTensorDType, kDTypeString);
  bytes_field(tensor, kTensorShape, shape);
  bytes_field(tensor, kTensorString, text);
  bytes_field(value, kValueTag, tag);
  bytes_field(value, kValueTensor, tensor);
  bytes_field(value, kValueMetadata, metadata);
  bytes_field(summary, kSummaryValue, value);
  bytes_field(payload, kEventSummary, summary);
  event(step, payload);
}

}  // namespace lacuna
