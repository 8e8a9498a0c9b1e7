#include "formats/parquet_encoding.h"

#include <algorithm>

#include "formats/damage.h"

namespace lacuna::parquet {
namespace {

constexpr std::uint64_t kMostBlock = 1 << 16;  // values; writers have 128

[[noreturn]] void refuse_page(const std::string& file) {
  throw DamagedFile(file + ": damaged: the values of a page end too early, or cannot be read");
}

std::string_view take(std::string_view& bytes, std::uint64_t n, const std::string& file) {
  if (n > bytes.size()) refuse_page(file);
  const std::string_view taken = bytes.substr(0, n);
  bytes.remove_prefix(n);
  return taken;
}

class PlainTexts final : public TextReader {
 public:
  PlainTexts(std::string_view bytes, const std::string& file) : bytes_(bytes), file_(file) {}
  std::string_view next() override {
    const std::string_view length = take(bytes_, 4, file_);
    std::uint32_t n = 0;
    for (std::size_t i = 4; i-- > 0;) n = n << 8 | static_cast<unsigned char>(length[i]);
    return take(bytes_, n, file_);
  }

 private:
  std::string_view bytes_;
  const std::string& file_;
};

/// All lengths, then all texts (DELTA_LENGTH_BYTE_ARRAY).
class DeltaLengthTexts final : public TextReader {
 public:
  DeltaLengthTexts(std::string_view bytes, const std::string& file)
      : lengths_(bytes, file), file_(file) {
    DeltaReader passed(bytes, file);
    for (std::uint64_t i = 0; i < passed.count(); ++i) passed.next();
    texts_ = passed.rest();
  }
  std::string_view next() override {
    const std::int64_t length = lengths_.next();
    if (length < 0) refuse_page(file_);
    return take(texts_, std::uint64_t(length), file_);
  }

 private:
  DeltaReader lengths_;
  std::string_view texts_;
  const std::string& file_;
};

/// How much of the text before begins each text; then what follows of them (DELTA_BYTE_ARRAY).
class DeltaTexts final : public TextReader {
 public:
  DeltaTexts(std::string_view bytes, const std::string& file)
      : shared_(bytes, file), rest_(after_lengths(bytes, file), file), file_(file) {}
  std::string_view next() override {
    const std::int64_t shared = shared_.next();
    const std::string_view rest = rest_.next();
    if (shared < 0 || std::uint64_t(shared) > text_.size()) refuse_page(file_);
    text_.resize(std::size_t(shared));
    text_ += rest;
    return text_;
  }

 private:
  static std::string_view after_lengths(std::string_view bytes, const std::string& file) {
    DeltaReader passed(bytes, file);
    for (std::uint64_t i = 0; i < passed.count(); ++i) passed.next();
    return passed.rest();
  }

  DeltaReader shared_;
  DeltaLengthTexts rest_;
  const std::string& file_;
  std::string text_;
};

class IndexedTexts final : public TextReader {
 public:
  IndexedTexts(std::string_view bytes, const std::vector<std::string_view>& dictionary,
               const std::string& file)
      : indices_(bytes.substr(std::min<std::size_t>(1, bytes.size())), width_of(bytes, file), file),
        dictionary_(dictionary),
        file_(file) {}
  std::string_view next() override {
    const std::uint32_t index = indices_.next();
    if (index >= dictionary_.size()) refuse_page(file_);
    return dictionary_[index];
  }

 private:
  static int width_of(std::string_view bytes, const std::string& file) {
    if (bytes.empty() || static_cast<unsigned char>(bytes[0]) > 32) refuse_page(file);
    return static_cast<unsigned char>(bytes[0]);
  }

  HybridReader indices_;
  const std::vector<std::string_view>& dictionary_;
  const std::string& file_;
};

}  // namespace

HybridReader::HybridReader(std::string_view bytes, int width, const std::string& file)
    : bytes_(bytes), width_(width), file_(file) {}

std::uint8_t HybridReader::byte() { return static_cast<std::uint8_t>(take(bytes_, 1, file_)[0]); }

void HybridReader::begin_run() {
  std::uint64_t head = 0;
  for (int shift = 0;; shift += 7) {
    if (shift >= 35) refuse_page(file_);
    const std::uint8_t b = byte();
    head |= std::uint64_t(b & 0x7f) << shift;
    if (b < 0x80) break;
  }
  packed_ = (head & 1) != 0;
  if (packed_) {
    left_ = (head >> 1) * 8;
    bits_left_ = 0;
    return;
  }
  left_ = head >> 1;
  value_ = 0;
  for (int i = 0; i < (width_ + 7) / 8; ++i) value_ |= std::uint32_t(byte()) << (8 * i);
}

std::uint32_t HybridReader::next() {
  while (left_ == 0) {
    // Without bits and without bytes all values are 0, as some writers have it.
    if (bytes_.empty() && width_ == 0) return 0;
    begin_run();
  }
  --left_;
  if (!packed_) return value_;
  while (bits_left_ < width_) {
    bits_ = (bits_left_ > 0 ? bits_ : 0) | std::uint64_t(byte()) << bits_left_;
    bits_left_ += 8;
  }
  const auto value = std::uint32_t(bits_ & ((std::uint64_t{1} << width_) - 1));
  bits_ >>= width_;
  bits_left_ -= width_;
  return value;
}

void DeltaReader::refuse() const { refuse_page(file_); }

std::uint64_t DeltaReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto b = static_cast<std::uint8_t>(take(bytes_, 1, file_)[0]);
    value |= std::uint64_t(b & 0x7f) << shift;
    if (b < 0x80) return value;
  }
  refuse();
}

std::int64_t DeltaReader::signed_varint() {
  const std::uint64_t n = varint();
  return std::int64_t(n >> 1) ^ -std::int64_t(n & 1);
}

DeltaReader::DeltaReader(std::string_view bytes, const std::string& file)
    : bytes_(bytes), file_(file) {
  block_ = varint();
  miniblocks_ = varint();
  count_ = varint();
  last_ = signed_varint();
  if (block_ == 0 || block_ > kMostBlock || miniblocks_ == 0 || miniblocks_ > block_ ||
      block_ % miniblocks_ != 0 || block_ / miniblocks_ % 8 != 0)
    refuse();
}

void DeltaReader::begin_block() {
  least_ = signed_varint();
  widths_ = take(bytes_, miniblocks_, file_);
  left_in_block_ = block_;
  next_miniblock_ = 0;
}

std::uint64_t DeltaReader::packed(int width) {
  std::uint64_t value = 0;
  for (int i = 0; i < width; ++i, ++bit_)
    value |= std::uint64_t(static_cast<unsigned char>(miniblock_[bit_ / 8]) >> (bit_ % 8) & 1) << i;
  return value;
}

std::int64_t DeltaReader::next() {
  if (given_ >= count_) refuse();
  if (given_++ == 0) return last_;
  if (left_in_block_ == 0) begin_block();
  if (left_in_miniblock_ == 0) {
    left_in_miniblock_ = block_ / miniblocks_;
    const auto width = static_cast<unsigned char>(widths_[next_miniblock_++]);
    if (width > 64) refuse();
    miniblock_ = take(bytes_, left_in_miniblock_ / 8 * width, file_);
    bit_ = 0;
  }
  const int width = static_cast<unsigned char>(widths_[next_miniblock_ - 1]);
  --left_in_miniblock_;
  --left_in_block_;
  last_ = std::int64_t(std::uint64_t(last_) + std::uint64_t(least_) + packed(width));
  return last_;
}

std::string_view DeltaReader::rest() const {
  if (given_ != count_ && count_ > 0) refuse();
  return bytes_;
}

std::unique_ptr<TextReader> read_texts(Encoding encoding, std::string_view bytes,
                                       const std::string& file) {
  switch (encoding) {
    case Encoding::plain:
      return std::make_unique<PlainTexts>(bytes, file);
    case Encoding::delta_length_byte_array:
      return std::make_unique<DeltaLengthTexts>(bytes, file);
    case Encoding::delta_byte_array:
      return std::make_unique<DeltaTexts>(bytes, file);
    default:
      fail(str(file, ": has texts in an encoding that is not read (number ", int(encoding), ")"));
  }
}

std::unique_ptr<TextReader> read_indexed_texts(std::string_view bytes,
                                               const std::vector<std::string_view>& dictionary,
                                               const std::string& file) {
  return std::make_unique<IndexedTexts>(bytes, dictionary, file);
}

}  // namespace lacuna::parquet
