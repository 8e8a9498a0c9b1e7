#include "formats/gguf.h"

#include <cerrno>
#include <cstring>
#include <iterator>

#include "core/block_formats.h"
#include "core/check.h"
#include "formats/rounding.h"

namespace lacuna {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::int64_t kAlignment = 32;
constexpr std::int64_t kBlocksAtLeast = 64;  // of a thread
// Numbers of the types of values.
constexpr std::uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9;

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void append_string(std::string& bytes, const std::string& text) {
  append(bytes, std::uint64_t(text.size()));
  bytes += text;
}

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::uint32_t gguf_type(MatrixFormat format) {
  constexpr std::uint32_t kNumbers[] = {0, 30, 1, 8, 2, 12, 13, 14};
  static_assert(std::size(kNumbers) == std::size(kMatrixFormats));
  return kNumbers[std::size_t(format)];
}

void convert_to_gguf(MatrixFormat format, const float* from, std::int64_t count, char* out,
                     const std::string& what) {
  const MatrixFormatInfo& info = info_of(format);
  CHECK(count % info.block_elements == 0, what, ": ", count, " elements are not whole blocks of ",
        info.block_elements);
  if (!info.is_float) return quantise(format, from, count, out);
  round_to(from, Tensor(out, {count}, info.dtype), what);
}

void GgufKeys::begin(const std::string& key, std::uint32_t type) {
  append_string(bytes_, key);
  append(bytes_, type);
  ++count_;
}
void GgufKeys::add(const std::string& key, std::uint32_t value) {
  begin(key, kU32);
  append(bytes_, value);
}
void GgufKeys::add(const std::string& key, float value) {
  begin(key, kF32);
  append(bytes_, value);
}
void GgufKeys::add(const std::string& key, bool value) {
  begin(key, kBool);
  append(bytes_, std::uint8_t(value));
}
void GgufKeys::add(const std::string& key, const std::string& value) {
  begin(key, kString);
  append_string(bytes_, value);
}
void GgufKeys::add(const std::string& key, const std::vector<std::string>& values) {
  begin(key, kArray);
  append(bytes_, kString);
  append(bytes_, std::uint64_t(values.size()));
  for (const std::string& value : values) append_string(bytes_, value);
}
void GgufKeys::add(const std::string& key, const std::vector<std::int32_t>& values) {
  begin(key, kArray);
  append(bytes_, kI32);
  append(bytes_, std::uint64_t(values.size()));
  for (const std::int32_t value : values) append(bytes_, value);
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufKeys& keys,
                       std::vector<GgufTensor> tensors)
    : file_(path), name_(path.string()), tensors_(std::move(tensors)) {
  std::string header = "GGUF";
  append(header, kVersion);
  append(header, std::uint64_t(tensors_.size()));
  append(header, keys.count());
  header += keys.bytes();
  std::int64_t offset = 0;
  for (const GgufTensor& t : tensors_) {
    append_string(header, t.name);
    append(header, std::uint32_t(t.shape.rank));
    for (int i = t.shape.rank - 1; i >= 0; --i) append(header, std::uint64_t(t.shape[i]));
    append(header, gguf_type(t.format));
    append(header, std::uint64_t(offset));
    offset = aligned(offset + bytes_of_row(t.format, t.shape.count()));
  }
  out_.open(file_.partial(), std::ios::binary);
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
  put(header.data(), std::int64_t(header.size()));
  pad();
}

void GgufWriter::put(const void* data, std::int64_t bytes) {
  errno = 0;
  out_.write(static_cast<const char*>(data), bytes);
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
  position_ += bytes;
}

void GgufWriter::pad() {
  const char zeros[kAlignment] = {};
  put(zeros, aligned(position_) - position_);
}

/// Searching the scales of blocks takes long enough to be worth all threads.
void GgufWriter::convert(const GgufTensor& t, const float* elements, std::int64_t count) {
  const MatrixFormatInfo& info = info_of(t.format);
  const std::string what = name_ + ": tensor '" + t.name + "'";
  if (info.is_float) return convert_to_gguf(t.format, elements, count, buffer_.data(), what);
  pool_.for_ranges(count / info.block_elements, kBlocksAtLeast,
                   [&](std::int64_t begin, std::int64_t end) {
                     convert_to_gguf(t.format, elements + begin * info.block_elements,
                                     (end - begin) * info.block_elements,
                                     buffer_.data() + begin * info.block_bytes, what);
                   });
}

void GgufWriter::write(const float* elements, std::int64_t count) {
  CHECK(tensor_ < tensors_.size(), name_, ": more tensors than announced");
  const GgufTensor& t = tensors_[tensor_];
  CHECK(written_ + count <= t.shape.count(), name_, ": tensor '", t.name, "' was announced as ",
        t.shape, "; ", written_ + count, " elements came");
  buffer_.resize(std::size_t(bytes_of_row(t.format, count)));
  convert(t, elements, count);
  put(buffer_.data(), std::int64_t(buffer_.size()));
  written_ += count;
  if (written_ < t.shape.count()) return;
  pad();
  written_ = 0;
  ++tensor_;
}

void GgufWriter::commit() {
  CHECK(tensor_ == tensors_.size(), name_, ": only ", tensor_, " of ", tensors_.size(),
        " tensors were written");
  errno = 0;
  out_.close();
  CHECK(out_, name_, ": cannot write: ", std::strerror(errno));
  file_.commit();
}

}  // namespace lacuna
