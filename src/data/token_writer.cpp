#include <limits>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/tensor_of.h"
#include "data/sha256.h"
#include "data/token_file.h"
#include "data/token_format.h"
#include "formats/hdf5.h"

namespace lacuna {
namespace {

// Tokens are handed to HDF5 in pieces of at least this many, or at the end.
constexpr std::size_t kWriteTokens = std::size_t{1} << 20;
// Vocabularies of at most this many ids have tokens of two bytes.
constexpr std::int64_t kMostNarrow = std::int64_t{1} << 16;
// Offsets are few; they are kept until this many are due.
constexpr std::size_t kWriteOffsets = std::size_t{1} << 16;

}  // namespace

void check_token_file_info(const TokenFileInfo& info, const std::string& path) {
  CHECK(info.vocab_size > 0 && info.vocab_size <= std::numeric_limits<std::int32_t>::max(), path,
        ": a vocabulary of ", info.vocab_size, " ids");
  for (const std::int64_t special : {info.mask_token, info.eos_token})
    CHECK(special >= -1 && special < info.vocab_size, path, ": special token ", special,
          " lies outside the vocabulary of ", info.vocab_size);
  CHECK(info.row_length >= 0, path, ": rows of ", info.row_length, " tokens");
}

struct TokenFileWriter::State {
  explicit State(std::filesystem::path path) : atomic(path), name(path.string()) {}

  AtomicFile atomic;  // first, so that HDF5 has let go of the partial file when it is removed
  std::string name;
  std::unique_ptr<h5::FileWriter> file;
  std::int64_t vocab_size = 0;
  bool is_shard = false;                   // one of several, which may hold no document
  bool responses = false, narrow = false;  // narrow: ids as u16
  std::int64_t row_length = 0;
  std::vector<std::int32_t> tokens;  // not yet given to HDF5
  std::vector<std::uint16_t> narrow_tokens;
  std::vector<std::uint8_t> response;
  std::vector<std::int64_t> offsets;  // likewise
  std::vector<std::int64_t> rows;
  std::int64_t token_count = 0, document_count = 0, document_start = 0, row_start = 0;

  void flush_tokens() {
    if (tokens.empty()) return;
    if (narrow) {
      narrow_tokens.assign(tokens.begin(), tokens.end());
      file->append("/tokens", tensor_of(narrow_tokens));
    } else {
      file->append("/tokens", tensor_of(tokens));
    }
    if (responses) file->append("/response", tensor_of(response));
    tokens.clear();
    response.clear();
  }
  void flush(const char* dataset, std::vector<std::int64_t>& starts) {
    if (starts.empty()) return;
    file->append(dataset, tensor_of(starts));
    starts.clear();
  }
};

TokenFileWriter::TokenFileWriter(std::filesystem::path path, TokenFileInfo info)
    : state_(std::make_unique<State>(std::move(path))) {
  State& s = *state_;
  check_token_file_info(info, s.name);
  s.vocab_size = info.vocab_size;
  s.responses = info.responses;
  s.narrow = info.vocab_size <= kMostNarrow;
  s.row_length = info.row_length;
  s.is_shard = !info.prepared_from.empty();
  s.file = std::make_unique<h5::FileWriter>(s.atomic.partial());
  s.file->set_attribute("format", kTokenFileFormat);
  s.file->set_attribute("version",
                        s.narrow || s.row_length > 0 ? kTokenFileVersion : std::int64_t{1});
  s.file->set_attribute("vocab_size", info.vocab_size);
  s.file->set_attribute("mask_token", info.mask_token);
  s.file->set_attribute("eos_token", info.eos_token);
  s.file->set_attribute("tokenizer", info.tokenizer_json);
  s.file->set_attribute("tokenizer_sha256", sha256(info.tokenizer_json));
  if (info.pairs) s.file->set_attribute("pairs", std::int64_t{1});
  if (!info.prepared_from.empty()) s.file->set_attribute("prepared_from", info.prepared_from);
  s.file->create("/tokens", Shape{0}, s.narrow ? DType::u16 : DType::i32, true);
  if (s.responses) s.file->create("/response", Shape{0}, DType::u8, true);
  s.file->create("/offsets", Shape{0}, DType::i64, true);
  s.tokens.reserve(kWriteTokens);
  s.offsets.push_back(0);
  if (s.row_length == 0) return;
  s.file->set_attribute("row_length", s.row_length);
  s.file->create("/rows", Shape{0}, DType::i64, true);
  s.rows.push_back(0);
}

TokenFileWriter::~TokenFileWriter() = default;

std::int64_t TokenFileWriter::tokens() const { return state_->token_count; }
std::int64_t TokenFileWriter::documents() const { return state_->document_count; }

void TokenFileWriter::append(std::span<const std::int32_t> tokens, bool response) {
  State& s = *state_;
  for (const std::int32_t id : tokens)
    CHECK(id >= 0 && id < s.vocab_size, s.name, ": token ", id, " lies outside the vocabulary of ",
          s.vocab_size);
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
  if (s.responses) s.response.insert(s.response.end(), tokens.size(), std::uint8_t(response));
  s.token_count += std::int64_t(tokens.size());
  if (s.tokens.size() >= kWriteTokens) s.flush_tokens();
}

void TokenFileWriter::end_document() {
  State& s = *state_;
  s.offsets.push_back(s.token_count);
  s.document_start = s.token_count;
  ++s.document_count;
  if (s.offsets.size() >= kWriteOffsets) s.flush("/offsets", s.offsets);
}

void TokenFileWriter::end_row() {
  State& s = *state_;
  const std::int64_t length = s.token_count - s.row_start;
  CHECK(
      s.row_length > 0 && s.document_start == s.token_count && length > 0 && length <= s.row_length,
      s.name, ": a row of ", length, " tokens ends, where at most ", s.row_length, " are a row");
  s.rows.push_back(s.token_count);
  s.row_start = s.token_count;
  if (s.rows.size() >= kWriteOffsets) s.flush("/rows", s.rows);
}

void TokenFileWriter::finish() {
  State& s = *state_;
  CHECK(s.document_count > 0 || s.is_shard, s.name, ": would hold no document");
  CHECK(s.document_start == s.token_count, s.name, ": its last document is not complete");
  CHECK(s.row_length == 0 || s.row_start == s.token_count, s.name,
        ": its last row is not complete");
  s.flush_tokens();
  s.flush("/offsets", s.offsets);
  if (s.row_length > 0) s.flush("/rows", s.rows);
  s.file->close();
}

void TokenFileWriter::commit() { state_->atomic.commit(); }

}  // namespace lacuna
