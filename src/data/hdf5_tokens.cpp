#include "core/check.h"
#include "core/tensor.h"
#include "data/mapped_column.h"
#include "data/sha256.h"
#include "data/token_format.h"
#include "data/token_storage.h"
#include "formats/damage.h"
#include "formats/hdf5.h"

namespace lacuna {
namespace {

std::int64_t extent_of(const h5::File& file, const char* dataset) {
  CHECK(file.exists(dataset), file.name(), ": has no ", dataset);
  CHECK(file.shape(dataset).rank == 1, file.name(), ": ", dataset, " has shape ",
        file.shape(dataset), ", not one extent");
  return file.shape(dataset)[0];
}

TokenFileInfo info_of(const h5::File& file) {
  CHECK(file.has_attribute("format") && file.string_attribute("format") == kTokenFileFormat,
        file.name(), ": is not a token file (made by lacuna prepare)");
  const std::int64_t version = file.int_attribute("version");
  CHECK(version == 1 || version == kTokenFileVersion, file.name(), ": is a token file of version ",
        version, "; this program reads versions 1 and ", kTokenFileVersion);
  TokenFileInfo info{.vocab_size = file.int_attribute("vocab_size"),
                     .mask_token = file.int_attribute("mask_token"),
                     .eos_token = file.int_attribute("eos_token"),
                     .tokenizer_json = file.string_attribute("tokenizer"),
                     .responses = file.exists("/response"),
                     .pairs = file.has_attribute("pairs") && file.int_attribute("pairs") != 0};
  if (file.exists("/rows")) info.row_length = file.int_attribute("row_length");
  if (file.has_attribute("prepared_from"))
    info.prepared_from = file.string_attribute("prepared_from");
  check_token_file_info(info, file.name());
  CHECK(sha256(info.tokenizer_json) == file.string_attribute("tokenizer_sha256"), file.name(),
        ": damaged: the tokenizer in it does not match its SHA-256");
  return info;
}

class Hdf5Tokens final : public TokenStorage {
 public:
  Hdf5Tokens(const std::filesystem::path& path, std::int64_t& unread) : map_(path) {
    name = path.string();
    const h5::File file = h5::File::open(path);
    info = info_of(file);
    tokens = extent_of(file, "/tokens");
    const std::int64_t offsets = extent_of(file, "/offsets");
    const DType dtype = file.dtype("/tokens");
    CHECK((dtype == DType::i32 || dtype == DType::u16) && file.dtype("/offsets") == DType::i64,
          name, ": /tokens must be i32 or u16 and /offsets i64");
    CHECK(offsets >= 1, name, ": /offsets is empty");
    token_bytes_ = int(size_of(dtype));
    documents = offsets - 1;
    tokens_ = MappedColumn(map_, file, "/tokens");
    offsets_ = MappedColumn(map_, file, "/offsets");
    if (info.responses) open_responses(file);
    if (info.row_length > 0) open_rows(file);
    map_.expect_random_reads();
    check_ends("/offsets", offsets_, documents);
    if (info.row_length > 0) check_ends("/rows", rows_, rows);
    const std::int64_t bytes = tokens * (token_bytes_ + info.responses) + 8 * (documents + rows);
    if (bytes > unread) return;
    unread -= bytes;
    check_increasing();
    verify_contents(file);
  }

  void read(std::int64_t first, std::span<std::int32_t> out) const override {
    copy_tokens(tokens_, token_bytes_, first, out);
  }
  void read_responses(std::int64_t first, std::span<std::uint8_t> out) const override {
    responses_.copy(std::uint64_t(first), out.size(), out.data());
  }
  std::int64_t offset(std::int64_t i) const override { return within("/offsets", offsets_, i); }
  std::int64_t row(std::int64_t i) const override { return within("/rows", rows_, i); }
  void verify() const override {
    check_increasing();
    verify_contents(h5::File::open(name));
  }

 private:
  void open_responses(const h5::File& file) {
    CHECK(file.dtype("/response") == DType::u8 && file.shape("/response") == Shape{tokens}, name,
          ": /response is ", file.dtype("/response"), ' ', file.shape("/response"),
          "; it must be u8 of the ", tokens, " tokens");
    responses_ = MappedColumn(map_, file, "/response");
  }
  void open_rows(const h5::File& file) {
    rows = extent_of(file, "/rows") - 1;
    CHECK(rows >= 0 && file.dtype("/rows") == DType::i64, name,
          ": /rows must be i64 of at least one element");
    rows_ = MappedColumn(map_, file, "/rows");
  }
  void check_ends(const char* dataset, const MappedColumn& starts, std::int64_t n) const {
    const auto first = starts.at<std::int64_t>(0), last = starts.at<std::int64_t>(n);
    CHECK(first == 0 && last == tokens, name, ": ", dataset, " runs from ", first, " to ", last,
          ", not from 0 to the ", tokens, " tokens");
  }
  void check_increasing() const {
    std::int64_t before = 0;
    for (std::int64_t i = 0; i <= documents; ++i) {
      const auto at = offsets_.at<std::int64_t>(i);
      CHECK(at >= before, name, ": /offsets falls from ", before, " to ", at, " at document ",
            i - 1);
      before = at;
    }
    before = 0;
    for (std::int64_t i = 1; i <= rows; ++i) {
      const auto at = rows_.at<std::int64_t>(i);
      CHECK(at > before && at - before <= info.row_length, name, ": /rows goes from ", before,
            " to ", at, " at row ", i - 1, ", of at most ", info.row_length, " tokens");
      before = at;
    }
  }
  void verify_contents(const h5::File& file) const {
    if (info.responses) file.verify("/response");
    file.verify("/offsets");
    if (info.row_length > 0) file.verify("/rows");
    file.verify("/tokens");
  }
  /// Of a file that was not verified, which may say anything.
  std::int64_t within(const char* dataset, const MappedColumn& starts, std::int64_t i) const {
    const auto at = starts.at<std::int64_t>(i);
    CHECK_INTACT(at >= 0 && at <= tokens, name, ": damaged: ", dataset, " has ", at,
                 ", beyond its ", tokens, " tokens");
    return at;
  }

  MappedFile map_;
  int token_bytes_ = 4;
  MappedColumn tokens_, offsets_, responses_, rows_;
};

}  // namespace

std::unique_ptr<TokenStorage> open_hdf5_tokens(const std::filesystem::path& path,
                                               std::int64_t& unread) {
  return std::make_unique<Hdf5Tokens>(path, unread);
}

}  // namespace lacuna
