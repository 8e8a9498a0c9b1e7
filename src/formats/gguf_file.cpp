#include "formats/gguf_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr std::uint64_t kShownElements = 8;      // of an array
constexpr std::uint64_t kLongestName = 1 << 16;  // of a key or tensor; the format's limit
constexpr std::uint64_t kSeekBytes = 1 << 16;
constexpr int kDeepestArray = 8;
constexpr std::uint32_t kMostExtents = 8;

enum ValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kValueTypes
};
constexpr std::array<const char*, kValueTypes> kValueNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "array", "u64", "i64", "f64"};
constexpr std::array<std::uint64_t, kValueTypes> kLeastBytes = {1, 1, 2,  2, 4, 4, 4,
                                                                1, 8, 12, 8, 8, 8};

/// GGML's types of tensors, in blocks of so many elements and bytes (ggml-common.h).
struct TensorType {
  std::uint32_t number;
  const char* name;
  std::int64_t elements, bytes;
};
constexpr TensorType kTensorTypes[] = {
    {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},
    {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},
    {8, "q8_0", 32, 34},      {9, "q8_1", 32, 36},      {10, "q2_k", 256, 84},
    {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},
    {14, "q6_k", 256, 210},   {15, "q8_k", 256, 292},   {16, "iq2_xxs", 256, 66},
    {17, "iq2_xs", 256, 74},  {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},
    {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},
    {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},         {25, "i16", 1, 2},
    {26, "i32", 1, 4},        {27, "i64", 1, 8},        {28, "f64", 1, 8},
    {29, "iq1_m", 256, 56},   {30, "bf16", 1, 2},       {34, "tq1_0", 256, 54},
    {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17}};

/// The file from its beginning on, never beyond its end.
class Header {
 public:
  explicit Header(const std::filesystem::path& path)
      : name_(InputFile(path).name()), in_(path, std::ios::binary) {
    CHECK(in_, name_, ": ", std::strerror(errno));
    std::error_code error;
    bytes_ = std::filesystem::file_size(path, error);
    CHECK(!error, name_, ": ", error.message());
  }
  const std::string& name() const { return name_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_ - position_; }

  template <class T>
  T number(const std::string& what) {
    T value{};
    read(&value, sizeof value, what);
    return value;
  }
  std::string string(const std::string& what, std::uint64_t most) {
    const auto length = number<std::uint64_t>(what);
    need(length, what);
    CHECK(length <= most, name_, ": ", what, ": a text of ", length, " bytes is longer than ",
          most);
    std::string text(std::size_t(length), '\0');
    read(text.data(), length, what);
    return text;
  }
  void skip(std::uint64_t bytes, const std::string& what) {
    need(bytes, what);
    if (bytes < kSeekBytes)
      in_.ignore(std::streamsize(bytes));  // seeking would empty the stream's buffer
    else
      in_.seekg(std::streamoff(bytes), std::ios::cur);
    position_ += bytes;
  }
  /// Error unless `bytes` more are there.
  void need(std::uint64_t bytes, const std::string& what) const {
    CHECK(bytes <= left(), name_, ": ", what, " begins at byte ", position_, " and needs ", bytes,
          " bytes; the file ends at byte ", bytes_);
  }

 private:
  void read(void* to, std::uint64_t bytes, const std::string& what) {
    need(bytes, what);
    in_.read(static_cast<char*>(to), std::streamsize(bytes));
    CHECK(in_, name_, ": cannot read: ", std::strerror(errno));
    position_ += bytes;
  }
  std::string name_;
  std::ifstream in_;
  std::uint64_t bytes_ = 0, position_ = 0;
};

template <class T>
std::string number_text(Header& in, const std::string& what) {
  const T value = in.number<T>(what);
  if constexpr (sizeof(T) == 1) return std::to_string(int(value));
  return str(value);
}

std::string scalar(Header& in, std::uint32_t type, const std::string& what) {
  switch (type) {
    case kU8:
      return number_text<std::uint8_t>(in, what);
    case kI8:
      return number_text<std::int8_t>(in, what);
    case kU16:
      return number_text<std::uint16_t>(in, what);
    case kI16:
      return number_text<std::int16_t>(in, what);
    case kU32:
      return number_text<std::uint32_t>(in, what);
    case kI32:
      return number_text<std::int32_t>(in, what);
    case kU64:
      return number_text<std::uint64_t>(in, what);
    case kI64:
      return number_text<std::int64_t>(in, what);
    case kF32:
      return number_text<float>(in, what);
    case kF64:
      return number_text<double>(in, what);
    case kBool:
      return in.number<std::uint8_t>(what) ? "true" : "false";
    default:
      return in.string(what, std::numeric_limits<std::int32_t>::max());
  }
}

void read_value(Header& in, std::uint32_t type, int depth, GgufFile::Value& value) {
  const std::string what = "key '" + shown(value.key) + "'";
  CHECK(type < kValueTypes, in.name(), ": ", what, ": type ", type, " is none of GGUF");
  if (type != kArray) {
    value.type = kValueNames[type];
    value.begin = in.position();
    value.text = scalar(in, type, what);
    return;
  }
  CHECK(depth < kDeepestArray, in.name(), ": ", what, ": arrays are nested more than ",
        kDeepestArray, " deep");
  const auto element = in.number<std::uint32_t>(what);
  CHECK(element < kValueTypes, in.name(), ": ", what, ": type ", element, " is none of GGUF");
  value.type = str("[", kValueNames[element], "]");
  value.count = in.number<std::uint64_t>(what);
  const std::uint64_t least = kLeastBytes[element];
  CHECK(value.count <= in.left() / least, in.name(), ": ", what, ": an array of ", value.count,
        " elements does not fit the ", in.left(), " bytes that follow");
  value.begin = in.position();
  std::uint64_t i = 0;
  for (; i < value.count; ++i) {
    const bool shown = i < kShownElements;
    if (!shown && element != kString && element != kArray) break;
    if (element == kArray) {
      GgufFile::Value inner{value.key, "", "", 1, 0};
      read_value(in, element, depth + 1, inner);
      if (shown) value.text += str(i > 0 ? ", " : "", "(", inner.text, ")");
    } else if (shown) {
      value.text += (i > 0 ? ", " : "") + scalar(in, element, what);
    } else {
      in.skip(in.number<std::uint64_t>(what), what);
    }
  }
  if (i < value.count) in.skip((value.count - i) * least, what);
  if (value.count > kShownElements) value.text += ", ...";
}

/// `offset`: of the elements, from where elements begin.
GgufFile::TensorEntry read_tensor(Header& in, std::uint64_t number, std::uint64_t& offset) {
  GgufFile::TensorEntry t;
  t.name = in.string(str("tensor ", number), kLongestName);
  const std::string what = "tensor '" + shown(t.name) + "'";
  const auto rank = in.number<std::uint32_t>(what);
  CHECK(rank <= kMostExtents, in.name(), ": ", what, ": has ", rank, " extents");
  t.elements = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const auto extent = in.number<std::int64_t>(what);
    std::int64_t product = 0;
    CHECK(extent >= 0 && !__builtin_mul_overflow(t.elements, extent, &product), in.name(), ": ",
          what, ": extents that no tensor has");
    t.elements = product;
    t.shape.insert(t.shape.begin(), extent);
  }
  const auto type = in.number<std::uint32_t>(what);
  offset = in.number<std::uint64_t>(what);
  t.type = str("type ", type);
  for (const TensorType& known : kTensorTypes)
    if (known.number == type) {
      const std::int64_t row = t.shape.empty() ? 1 : t.shape.back();
      CHECK(row % known.elements == 0, in.name(), ": ", what, ": rows of ", row,
            " are no whole blocks of ", known.name, ", of ", known.elements);
      t.type = known.name;
      CHECK(!__builtin_mul_overflow(t.elements / known.elements, known.bytes, &t.bytes), in.name(),
            ": ", what, ": extents that no tensor has");
    }
  return t;
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path) {
  Header in(path);
  name_ = in.name();
  CHECK(in.number<std::uint32_t>("its magic number") == 0x46554747, in.name(),
        ": is not a GGUF file");
  version_ = in.number<std::uint32_t>("its version");
  CHECK((version_ & 0xffff) != 0, in.name(), ": is a GGUF file of another byte order");
  CHECK(version_ == 2 || version_ == 3, in.name(), ": is a GGUF file of version ", version_,
        "; versions 2 and 3 are known");
  const auto tensors = in.number<std::uint64_t>("its number of tensors");
  const auto keys = in.number<std::uint64_t>("its number of keys");
  constexpr std::uint64_t kLeastKey = 8 + 4 + 1, kLeastTensor = 8 + 4 + 4 + 8;
  CHECK(keys <= in.left() / kLeastKey && tensors <= in.left() / kLeastTensor, in.name(), ": ", keys,
        " keys and ", tensors, " tensors do not fit the ", in.bytes(), " bytes of the file");
  for (std::uint64_t i = 0; i < keys; ++i) {
    Value value;
    value.key = in.string(str("key ", i), kLongestName);
    read_value(in, in.number<std::uint32_t>("key '" + shown(value.key) + "'"), 0, value);
    values_.push_back(std::move(value));
  }
  std::vector<std::uint64_t> offsets(std::size_t(tensors), 0);
  for (std::uint64_t i = 0; i < tensors; ++i)
    tensors_.push_back(read_tensor(in, i, offsets[std::size_t(i)]));
  std::uint64_t alignment = 32;
  if (const std::string given = text("general.alignment"); !given.empty())
    alignment = std::strtoull(given.c_str(), nullptr, 10);
  CHECK(alignment > 0 && alignment <= (1 << 30) && alignment % 8 == 0, in.name(),
        ": general.alignment = ", text("general.alignment"),
        " is no number of bytes to align to, a multiple of 8");
  if (tensors_.empty()) return;
  const std::uint64_t begin = (in.position() + alignment - 1) / alignment * alignment;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::uint64_t offset = offsets[i],
                        bytes = std::uint64_t(std::max<std::int64_t>(0, tensors_[i].bytes));
    CHECK(
        begin <= in.bytes() && offset <= in.bytes() - begin && bytes <= in.bytes() - begin - offset,
        in.name(), ": is cut short or damaged: tensor '", shown(tensors_[i].name),
        "' begins at byte ", begin, " + ", offset, " and takes ", bytes, "; the file ends at byte ",
        in.bytes());
    CHECK(offset % alignment == 0, in.name(), ": tensor '", shown(tensors_[i].name),
          "' begins at byte ", begin, " + ", offset, ", which is no multiple of ", alignment);
    tensors_[i].begin = begin + offset;
  }
}

const GgufFile::Value* GgufFile::find(const std::string& key) const {
  for (const Value& value : values_)
    if (value.key == key) return &value;
  return nullptr;
}

std::string GgufFile::text(const std::string& key) const {
  const Value* const value = find(key);
  return value ? value->text : "";
}

const GgufFile::Value& GgufFile::at(const std::string& key, const char* kind,
                                    std::initializer_list<const char*> types) const {
  const Value* const value = find(key);
  CHECK(value, name_, ": has no key '", shown(key), "'");
  CHECK(std::find(types.begin(), types.end(), value->type) != types.end(), name_, ": key '",
        shown(key), "' is of type ", value->type, ", no ", kind);
  return *value;
}

bool GgufFile::flag(const std::string& key) const {
  return at(key, "bool", {"bool"}).text == "true";
}

std::int64_t GgufFile::integer(const std::string& key) const {
  const Value& value = at(key, "integer", {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"});
  errno = 0;
  const std::int64_t number = std::strtoll(value.text.c_str(), nullptr, 10);
  CHECK(errno == 0, name_, ": key '", shown(key), "' = ", value.text, " is too large");
  return number;
}

double GgufFile::number(const std::string& key) const {
  const Value& value = at(key, "number", {"f32", "f64"});
  Header in(path_);
  in.skip(value.begin, key);
  if (value.type == "f64") return in.number<double>(key);
  std::array<char, 32> text{};
  const auto wide = in.number<float>(key);
  (void)std::to_chars(text.data(), text.data() + text.size() - 1, wide);
  return std::strtod(text.data(), nullptr);
}

std::string GgufFile::string(const std::string& key) const { return at(key, "text", {"str"}).text; }

std::vector<std::string> GgufFile::strings(const std::string& key) const {
  const Value& value = at(key, "list of texts", {"[str]"});
  Header in(path_);
  in.skip(value.begin, key);
  std::vector<std::string> texts;
  for (std::uint64_t i = 0; i < value.count; ++i) texts.push_back(in.string(key, kLongestName));
  return texts;
}

std::vector<std::int64_t> GgufFile::integers(const std::string& key) const {
  const Value& value = at(key, "list of integers", {"[u32]", "[i32]"});
  Header in(path_);
  in.skip(value.begin, key);
  std::vector<std::int64_t> numbers;
  for (std::uint64_t i = 0; i < value.count; ++i)
    numbers.push_back(value.type == "[u32]" ? std::int64_t(in.number<std::uint32_t>(key))
                                            : std::int64_t(in.number<std::int32_t>(key)));
  return numbers;
}

}  // namespace lacuna
