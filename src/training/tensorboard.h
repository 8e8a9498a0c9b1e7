#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "training/append_file.h"

namespace lacuna {

struct Scalar {
  std::string tag;  // "train/loss"
  double value;
};

/// An event file that TensorBoard opens: protobuf messages `Event` (tensorflow/core/util/
/// event.proto, framework/summary.proto), each in a TFRecord frame.
class TensorBoardLog {
 public:
  /// A new file events.out.tfevents.<seconds>.<host>.<process>.<n> in `folder`. TensorBoard will
  /// forget what earlier files there say about steps after `resumed_step`.
  TensorBoardLog(const std::filesystem::path& folder, std::int64_t resumed_step);

  void scalars(std::int64_t step, std::span<const Scalar> values);
  /// Shown, as Markdown, under "Text".
  void text(std::int64_t step, std::string_view tag, std::string_view text);
  const std::string& path() const { return file_->name(); }

 private:
  void event(std::int64_t step, std::string_view payload);
  std::unique_ptr<AppendFile> file_;
};

/// A TFRecord frame: length u64, its masked CRC, the data, their masked CRC; little-endian. Masked:
/// rotated right by 15 bits plus 0xa282ead8, of the CRC-32C.
std::string tfrecord(std::string_view data);

}  // namespace lacuna
