#include "data/megatron_tokens.h"

#include <cstring>
#include <string_view>

#include "core/check.h"
#include "data/mapped_column.h"
#include "formats/damage.h"
#include "formats/mapped_file.h"

namespace lacuna {
namespace {

constexpr std::string_view kIndexMagic("MMIDIDX\0\0", 9);
constexpr std::uint64_t kIndexHeader = 9 + 8 + 1 + 8 + 8;

template <class T>
T number_at(const MappedFile& file, std::uint64_t byte) {
  T value;
  std::memcpy(&value, file.data() + byte, sizeof value);
  return value;
}

const char* name_of_dtype(int code) {
  constexpr const char* names[] = {"",      "uint8",   "int8",    "int16", "int32",
                                   "int64", "float64", "float32", "uint16"};
  return code >= 1 && code <= 8 ? names[code] : "unknown";
}

class MegatronTokens final : public TokenStorage {
 public:
  MegatronTokens(const std::filesystem::path& index, std::int64_t& unread)
      : index_(index), ids_(std::filesystem::path(index).replace_extension(".bin")) {
    name = index.string();
    tokens_ = MappedColumn(ids_.data(), ids_.bytes());
    CHECK_INTACT(index_.bytes() >= kIndexHeader &&
                     std::string_view(index_.data(), kIndexMagic.size()) == kIndexMagic,
                 name, ": is not the index of a Megatron dataset (it does not begin with MMIDIDX)");
    const auto version = number_at<std::uint64_t>(index_, 9);
    CHECK(version == 1, name, ": is a Megatron index of version ", version,
          "; this program reads version 1");
    const int code = number_at<std::uint8_t>(index_, 17);
    CHECK(code == 4 || code == 8, name, ": its ids are of type ", code, " (", name_of_dtype(code),
          "); int32 and uint16 are read");
    width_ = code == 8 ? 2 : 4;
    read_sizes(number_at<std::uint64_t>(index_, 18), number_at<std::uint64_t>(index_, 26));
    ids_.expect_random_reads();
    const auto bytes = std::int64_t(index_.bytes());
    if (bytes > unread) return;
    unread -= bytes;
    check_all();
  }

  void read(std::int64_t first, std::span<std::int32_t> out) const override {
    copy_tokens(tokens_, int(width_), first, out);
  }
  void read_responses(std::int64_t, std::span<std::uint8_t>) const override {
    fail(name + ": a Megatron dataset has no responses");
  }
  std::int64_t offset(std::int64_t i) const override {
    const std::int64_t sequence = document(i);
    return sequence == sequences_ ? tokens : pointer(sequence) / width_;
  }
  std::int64_t row(std::int64_t) const override { return 0; }
  void verify() const override { check_all(); }

 private:
  void read_sizes(std::uint64_t sequences, std::uint64_t bounds) {
    const std::uint64_t room = index_.bytes() - kIndexHeader;
    CHECK_INTACT(sequences >= 1 && bounds >= 2 && sequences <= room / 12 && bounds <= room / 8 &&
                     12 * sequences + 8 * bounds <= room,
                 name, ": declares ", sequences, " sequences and ", bounds,
                 " bounds of documents, which a file of ", index_.bytes(), " bytes cannot hold");
    sequences_ = std::int64_t(sequences);
    documents = std::int64_t(bounds) - 1;
    tokens = std::int64_t(ids_.bytes()) / width_;
    CHECK_INTACT(document(0) == 0 && document(documents) == sequences_, name,
                 ": its documents go from sequence ", document(0), " to ", document(documents),
                 ", not from 0 to the ", sequences_);
    const std::int64_t end =
        pointer(sequences_ - 1) + std::int64_t(length(sequences_ - 1)) * width_;
    CHECK_INTACT(end == std::int64_t(ids_.bytes()), ids_.name(), ": has ", ids_.bytes(),
                 " bytes, where ", name, " describes ", end);
  }
  std::int32_t length(std::int64_t sequence) const {
    return number_at<std::int32_t>(index_, kIndexHeader + 4 * std::uint64_t(sequence));
  }
  /// First byte of a sequence.
  std::int64_t pointer(std::int64_t sequence) const {
    const auto at = number_at<std::int64_t>(
        index_, kIndexHeader + 4 * std::uint64_t(sequences_) + 8 * std::uint64_t(sequence));
    CHECK_INTACT(at >= 0 && at <= std::int64_t(ids_.bytes()) && at % width_ == 0, name,
                 ": sequence ", sequence, " begins at byte ", at, " of the ", ids_.bytes(), " of ",
                 ids_.name());
    return at;
  }
  /// First sequence of a document.
  std::int64_t document(std::int64_t i) const {
    const auto at = number_at<std::int64_t>(
        index_, kIndexHeader + 12 * std::uint64_t(sequences_) + 8 * std::uint64_t(i));
    CHECK_INTACT(at >= 0 && at <= sequences_, name, ": document ", i, " begins at sequence ", at,
                 " of ", sequences_);
    return at;
  }
  void check_all() const {
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < sequences_; ++i) {
      CHECK_INTACT(length(i) >= 0, name, ": sequence ", i, " has ", length(i), " tokens");
      CHECK(pointer(i) == end, name, ": sequence ", i, " begins at byte ", pointer(i),
            ", and the one before it ends at ", end, "; they must lie end to end");
      end += std::int64_t(length(i)) * width_;
    }
    for (std::int64_t i = 0; i < documents; ++i)
      CHECK_INTACT(document(i) <= document(i + 1), name, ": document ", i + 1,
                   " begins before document ", i);
  }

  MappedFile index_, ids_;
  MappedColumn tokens_;
  std::int64_t width_ = 4, sequences_ = 0;
};

}  // namespace

std::optional<std::filesystem::path> megatron_index(const std::filesystem::path& path) {
  std::error_code ignored;
  if (path.extension() == ".idx") return path;
  if (path.extension() == ".bin") return std::filesystem::path(path).replace_extension(".idx");
  std::filesystem::path index = path;
  index += ".idx";
  if (!std::filesystem::exists(path, ignored) && std::filesystem::exists(index, ignored))
    return index;
  return std::nullopt;
}

std::unique_ptr<TokenStorage> open_megatron_tokens(const std::filesystem::path& index,
                                                   std::int64_t& unread) {
  return std::make_unique<MegatronTokens>(index, unread);
}

}  // namespace lacuna
