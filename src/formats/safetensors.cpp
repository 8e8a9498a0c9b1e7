#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/damage.h"
#include "formats/mapped_file.h"

namespace lacuna {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLargestHeader = 100'000'000;  // as in Hugging Face's own reader

struct Entry {
  Shape shape;
  DType dtype;
  std::uint64_t begin, end;  // within the data
};

DType dtype_named(const std::string& word, const std::string& what) {
  static const std::map<std::string, DType> known = {
      {"F32", DType::f32}, {"F64", DType::f64}, {"BF16", DType::bf16}, {"F16", DType::f16},
      {"I32", DType::i32}, {"I64", DType::i64}, {"U8", DType::u8}};
  const auto found = known.find(word);
  CHECK(found != known.end(), what, ": dtype ", shown(word),
        " is none of F32, F64, BF16, F16, I32, I64, U8");
  return found->second;
}

std::uint64_t natural(const Json& value, const std::string& what) {
  CHECK(value.is_number_unsigned(), what, ": ", shown(value.dump()), " is not a natural number");
  return value.get<std::uint64_t>();
}

const Json& field(const Json& entry, const char* key, const std::string& what) {
  CHECK(entry.is_object() && entry.contains(key), what, ": has no ", key);
  return entry[key];
}

Entry read_entry(const Json& entry, std::uint64_t data_bytes, const std::string& what) {
  Entry e{};
  const Json& dtype = field(entry, "dtype", what);
  CHECK(dtype.is_string(), what, ": dtype is not a string");
  e.dtype = dtype_named(dtype.get<std::string>(), what);
  const Json& shape = field(entry, "shape", what);
  CHECK(shape.is_array() && shape.size() <= 4, what, ": shape ", shown(shape.dump()),
        " is not a list of at most 4 extents");
  std::uint64_t bytes = std::uint64_t(size_of(e.dtype));
  for (const Json& extent : shape) {
    const std::uint64_t n = natural(extent, what + ": shape");
    // Anything larger cannot lie in the file, whatever the other extents are.
    CHECK(n < std::uint64_t{1} << 62 && !__builtin_mul_overflow(bytes, n, &bytes), what, ": shape ",
          shape.dump(), " is too large");
    e.shape.extent[std::size_t(e.shape.rank++)] = std::int64_t(n);
  }
  const Json& offsets = field(entry, "data_offsets", what);
  CHECK(offsets.is_array() && offsets.size() == 2, what, ": data_offsets ", shown(offsets.dump()),
        " are not two numbers");
  e.begin = natural(offsets[0], what + ": data_offsets");
  e.end = natural(offsets[1], what + ": data_offsets");
  CHECK(e.begin <= e.end && e.end <= data_bytes, what, ": data_offsets ", offsets.dump(),
        " lie outside the ", data_bytes, " bytes of data; the file is truncated or damaged");
  CHECK(e.end - e.begin == bytes, what, ": data_offsets ", offsets.dump(), " span ",
        e.end - e.begin, " bytes; ", e.shape, " of ", e.dtype, " is ", bytes);
  return e;
}

}  // namespace

struct SafetensorsFile::State {
  explicit State(const std::filesystem::path& path) : name(path.string()), mapping(path) {}
  void read_header();

  std::string name;
  MappedFile mapping;
  std::uint64_t data_begin = 0;
  Metadata metadata;
  std::map<std::string, Entry> entries;
  // Copies of tensors that lie at an address their elements cannot be read from.
  std::map<std::string, std::vector<double>> aligned;

  const Entry& entry(const std::string& tensor) const {
    const auto found = entries.find(tensor);
    CHECK(found != entries.end(), name, ": has no tensor '", tensor, "'");
    return found->second;
  }
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : state_(std::make_unique<State>(path)) {
  try {
    state_->read_header();
  } catch (const Error& e) {
    throw DamagedFile(e.what(), e.where);
  }
}

void SafetensorsFile::State::read_header() {
  State& s = *this;
  CHECK(s.mapping.bytes() >= 8, s.name, ": is no safetensors file: ", s.mapping.bytes(),
        " bytes long");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, s.mapping.data(), 8);
  CHECK(header_bytes <= kLargestHeader, s.name, ": is no safetensors file: a header of ",
        header_bytes, " bytes");
  CHECK(header_bytes <= s.mapping.bytes() - 8, s.name, ": is truncated: its header has ",
        header_bytes, " bytes, the file ", s.mapping.bytes());
  s.data_begin = 8 + header_bytes;
  const std::uint64_t data_bytes = s.mapping.bytes() - s.data_begin;
  const auto header = parse_json_object<Json>(std::string_view(s.mapping.data() + 8, header_bytes),
                                              s.name + ": damaged header");
  for (const auto& [tensor, entry] : header.items()) {
    if (tensor == "__metadata__") {
      CHECK(entry.is_object(), s.name, ": __metadata__ is not a JSON object");
      for (const auto& [key, value] : entry.items()) {
        CHECK(value.is_string(), s.name, ": __metadata__ '", shown(key), "' is not a string");
        s.metadata[key] = value.get<std::string>();
      }
    } else {
      s.entries[tensor] =
          read_entry(entry, data_bytes, s.name + ": tensor '" + shown(tensor) + "'");
    }
  }

  std::vector<std::pair<std::string, Entry>> by_place(s.entries.begin(), s.entries.end());
  std::stable_sort(by_place.begin(), by_place.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.second.end) < std::pair(b.second.begin, b.second.end);
  });
  std::uint64_t end = 0;
  for (const auto& [tensor, entry] : by_place) {
    CHECK(entry.begin == end, s.name, ": tensor '", shown(tensor), "' begins at byte ", entry.begin,
          entry.begin < end ? " and overlaps the one before, which ends at "
                            : " and leaves a gap after ",
          end);
    end = entry.end;
  }
  CHECK(end == data_bytes, s.name, ": holds ", data_bytes, " bytes of data; its tensors take ",
        end);
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::string& SafetensorsFile::path() const { return state_->name; }
const Metadata& SafetensorsFile::metadata() const { return state_->metadata; }
bool SafetensorsFile::has(const std::string& name) const { return state_->entries.count(name) > 0; }
Shape SafetensorsFile::shape(const std::string& name) const { return state_->entry(name).shape; }
DType SafetensorsFile::dtype(const std::string& name) const { return state_->entry(name).dtype; }

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& entry : state_->entries) names.push_back(entry.first);
  return names;
}

Tensor SafetensorsFile::view(const std::string& name) const {
  const Entry& e = state_->entry(name);
  char* data = state_->mapping.data() + state_->data_begin + e.begin;
  if (reinterpret_cast<std::uintptr_t>(data) % std::uintptr_t(size_of(e.dtype)) != 0) {
    std::vector<double>& copy = state_->aligned[name];
    if (copy.empty() && e.end > e.begin) {
      copy.resize((e.end - e.begin + 7) / 8);
      std::memcpy(copy.data(), data, e.end - e.begin);
    }
    data = reinterpret_cast<char*>(copy.data());
  }
  return Tensor(static_cast<void*>(data), e.shape, e.dtype);
}

SafetensorsFolder::SafetensorsFolder(const std::filesystem::path& folder)
    : folder_(folder.string()) {
  // Where both are present, Hugging Face too takes the single file.
  const std::filesystem::path single = folder / "model.safetensors";
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (std::filesystem::exists(single)) {
    files_.emplace_back(single);
    for (const std::string& name : files_[0].names()) where_[name] = 0;
    return;
  }
  CHECK(std::filesystem::exists(index), folder_,
        ": has neither model.safetensors nor model.safetensors.index.json");
  const Json json = parse_json_object<Json>(read_file(index), index.string());
  CHECK(json.contains("weight_map") && json["weight_map"].is_object(), index.string(),
        ": has no weight_map");
  std::map<std::string, std::size_t> shards;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    CHECK(shard.is_string(), index.string(), ": weight_map: '", tensor, "' names no file");
    const auto file = shard.get<std::string>();
    CHECK(std::filesystem::path(file).filename() == file, index.string(), ": weight_map: '", file,
          "' is not a file of this folder");
    const auto [place, is_new] = shards.try_emplace(file, files_.size());
    if (is_new) files_.emplace_back(folder / file);
    CHECK(files_[place->second].has(tensor), files_[place->second].path(), ": lacks tensor '",
          shown(tensor), "', which ", index.filename().string(), " says it holds");
    where_[tensor] = place->second;
  }
  for (std::size_t i = 0; i < files_.size(); ++i)
    for (const std::string& name : files_[i].names()) {
      const auto found = where_.find(name);
      CHECK(found != where_.end() && found->second == i, files_[i].path(), ": tensor '",
            shown(name), found == where_.end() ? "' is missing from " : "' lies elsewhere, says ",
            index.filename().string());
    }
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : where_) names.push_back(entry.first);
  return names;
}

Tensor SafetensorsFolder::view(const std::string& name) const {
  const auto found = where_.find(name);
  CHECK(found != where_.end(), folder_, ": has no tensor '", name, "'");
  return files_[found->second].view(name);
}

}  // namespace lacuna
