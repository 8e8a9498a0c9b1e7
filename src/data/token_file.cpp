#include "data/token_file.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/tensor_of.h"
#include "data/sha256.h"
#include "formats/hdf5.h"

namespace lacuna {
namespace {

constexpr const char* kFormat = "lacuna-tokens";
constexpr std::int64_t kVersion = 1;
// Above this many bytes of tokens, opening a file does not read them all to check them.
constexpr std::int64_t kVerifyOnOpen = std::int64_t{1} << 30;
// Tokens are handed to HDF5 in pieces of at least this many, or at the end.
constexpr std::size_t kWriteTokens = std::size_t{1} << 20;
// Offsets are few; they are kept until this many are due.
constexpr std::size_t kWriteOffsets = std::size_t{1} << 16;

void check_info(const TokenFileInfo& info, const std::string& path) {
  CHECK(info.vocab_size > 0 && info.vocab_size <= std::numeric_limits<std::int32_t>::max(), path,
        ": a vocabulary of ", info.vocab_size, " ids");
  for (const std::int64_t special : {info.mask_token, info.eos_token})
    CHECK(special >= -1 && special < info.vocab_size, path, ": special token ", special,
          " lies outside the vocabulary of ", info.vocab_size);
}

}  // namespace

struct TokenFileWriter::State {
  explicit State(std::filesystem::path path) : atomic(path), name(path.string()) {}

  AtomicFile atomic;  // first, so that HDF5 has let go of the partial file when it is removed
  std::string name;
  std::unique_ptr<h5::FileWriter> file;
  std::int64_t vocab_size = 0;
  bool responses = false;
  std::vector<std::int32_t> tokens;  // not yet given to HDF5
  std::vector<std::uint8_t> response;
  std::vector<std::int64_t> offsets;  // likewise
  std::int64_t token_count = 0, document_count = 0, document_start = 0;

  void flush_tokens() {
    if (tokens.empty()) return;
    file->append("/tokens", tensor_of(tokens));
    if (responses) file->append("/response", tensor_of(response));
    tokens.clear();
    response.clear();
  }
  void flush_offsets() {
    if (offsets.empty()) return;
    file->append("/offsets", tensor_of(offsets));
    offsets.clear();
  }
};

TokenFileWriter::TokenFileWriter(std::filesystem::path path, TokenFileInfo info)
    : state_(std::make_unique<State>(std::move(path))) {
  State& s = *state_;
  check_info(info, s.name);
  s.vocab_size = info.vocab_size;
  s.responses = info.responses;
  s.file = std::make_unique<h5::FileWriter>(s.atomic.partial());
  s.file->set_attribute("format", kFormat);
  s.file->set_attribute("version", kVersion);
  s.file->set_attribute("vocab_size", info.vocab_size);
  s.file->set_attribute("mask_token", info.mask_token);
  s.file->set_attribute("eos_token", info.eos_token);
  if (info.pairs) s.file->set_attribute("pairs", std::int64_t{1});
  s.file->set_attribute("tokenizer", info.tokenizer_json);
  s.file->set_attribute("tokenizer_sha256", sha256(info.tokenizer_json));
  s.file->create("/tokens", Shape{0}, DType::i32, true);
  if (s.responses) s.file->create("/response", Shape{0}, DType::u8, true);
  s.file->create("/offsets", Shape{0}, DType::i64, true);
  s.tokens.reserve(kWriteTokens);
  s.offsets.push_back(0);
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
  if (s.offsets.size() >= kWriteOffsets) s.flush_offsets();
}

void TokenFileWriter::finish() {
  State& s = *state_;
  CHECK(s.document_count > 0, s.name, ": would hold no document");
  CHECK(s.document_start == s.token_count, s.name, ": its last document is not complete");
  s.flush_tokens();
  s.flush_offsets();
  s.file->close();
}

void TokenFileWriter::commit() { state_->atomic.commit(); }

struct TokenFile::State {
  std::string name;
  std::unique_ptr<h5::File> file;
  TokenFileInfo info;
  std::vector<std::int64_t> offsets;
  std::int64_t tokens = 0;
};

TokenFile::TokenFile(const std::filesystem::path& path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.name = path.string();
  s.file = std::make_unique<h5::File>(h5::File::open(path));
  h5::File& file = *s.file;
  CHECK(file.has_attribute("format") && file.string_attribute("format") == kFormat, s.name,
        ": is not a token file (made by lacuna prepare)");
  const std::int64_t version = file.int_attribute("version");
  CHECK(version == kVersion, s.name, ": is a token file of version ", version,
        "; this program reads version ", kVersion);
  s.info = {file.int_attribute("vocab_size"),
            file.int_attribute("mask_token"),
            file.int_attribute("eos_token"),
            file.string_attribute("tokenizer"),
            file.exists("/response"),
            file.has_attribute("pairs") && file.int_attribute("pairs") != 0};
  check_info(s.info, s.name);
  CHECK(sha256(s.info.tokenizer_json) == file.string_attribute("tokenizer_sha256"), s.name,
        ": damaged: the tokenizer in it does not match its SHA-256");

  for (const char* dataset : {"/tokens", "/offsets"}) {
    CHECK(file.exists(dataset), s.name, ": has no ", dataset);
    CHECK(file.shape(dataset).rank == 1, s.name, ": ", dataset, " has shape ", file.shape(dataset),
          ", not one extent");
  }
  CHECK(file.dtype("/tokens") == DType::i32 && file.dtype("/offsets") == DType::i64, s.name,
        ": /tokens must be i32 and /offsets i64");
  s.tokens = file.shape("/tokens")[0];
  const std::int64_t n = file.shape("/offsets")[0];
  CHECK(n >= 1, s.name, ": /offsets is empty");
  s.offsets.resize(std::size_t(n));
  file.read("/offsets", Tensor(s.offsets.data(), Shape{n}));
  CHECK(s.offsets.front() == 0 && s.offsets.back() == s.tokens, s.name, ": /offsets runs from ",
        s.offsets.front(), " to ", s.offsets.back(), ", not from 0 to the ", s.tokens, " tokens");
  const auto drop = std::adjacent_find(s.offsets.begin(), s.offsets.end(), std::greater<>());
  CHECK(drop == s.offsets.end(), s.name, ": /offsets falls from ", *drop, " to ", *(drop + 1),
        " at document ", drop - s.offsets.begin());
  const bool small = s.tokens <= kVerifyOnOpen / std::int64_t(sizeof(std::int32_t));
  if (small) file.verify("/tokens");
  if (!s.info.responses) return;
  CHECK(file.dtype("/response") == DType::u8 && file.shape("/response") == Shape{s.tokens}, s.name,
        ": /response is ", file.dtype("/response"), ' ', file.shape("/response"),
        "; it must be u8 of the ", s.tokens, " tokens");
  if (small) file.verify("/response");
}

TokenFile::~TokenFile() = default;
TokenFile::TokenFile(TokenFile&&) noexcept = default;
TokenFile& TokenFile::operator=(TokenFile&&) noexcept = default;

const std::string& TokenFile::path() const { return state_->name; }
std::int64_t TokenFile::tokens() const { return state_->tokens; }
std::int64_t TokenFile::documents() const { return std::int64_t(state_->offsets.size()) - 1; }
std::int64_t TokenFile::vocab_size() const { return state_->info.vocab_size; }
std::int64_t TokenFile::mask_token() const { return state_->info.mask_token; }
std::int64_t TokenFile::eos_token() const { return state_->info.eos_token; }
const std::string& TokenFile::tokenizer_json() const { return state_->info.tokenizer_json; }

bool TokenFile::has_responses() const { return state_->info.responses; }
bool TokenFile::has_pairs() const { return state_->info.pairs; }

std::int64_t TokenFile::offset(std::int64_t i) const {
  const State& s = *state_;
  CHECK(i >= 0 && i <= documents(), s.name, ": has no document ", i, "; it holds ", documents());
  return s.offsets[std::size_t(i)];
}

void TokenFile::read(std::int64_t first, std::span<std::int32_t> out) const {
  const State& s = *state_;
  const auto n = std::int64_t(out.size());
  CHECK(first >= 0 && first <= s.tokens - n, s.name, ": tokens ", first, " to ", first + n,
        " were asked for; it holds ", s.tokens);
  if (n == 0) return;
  s.file->read_rows("/tokens", first, Tensor(out.data(), Shape{n}));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t id = out[std::size_t(i)];
    CHECK(id >= 0 && id < s.info.vocab_size, s.name, ": token ", first + i, " is ", id,
          ", not an id of its vocabulary of ", s.info.vocab_size);
  }
}

void TokenFile::read_responses(std::int64_t first, std::span<std::uint8_t> out) const {
  const State& s = *state_;
  const auto n = std::int64_t(out.size());
  CHECK(s.info.responses, s.name, ": has no /response; prepare it with --format chat");
  CHECK(first >= 0 && first <= s.tokens - n, s.name, ": responses ", first, " to ", first + n,
        " were asked for; it holds ", s.tokens);
  if (n == 0) return;
  s.file->read_rows("/response", first, Tensor(out.data(), Shape{n}));
  for (std::int64_t i = 0; i < n; ++i)
    CHECK(out[std::size_t(i)] <= 1, s.name, ": /response of token ", first + i, " is ",
          int(out[std::size_t(i)]), ", neither 0 nor 1");
}

void TokenFile::verify() const {
  if (state_->info.responses) state_->file->verify("/response");
  state_->file->verify("/offsets");
  state_->file->verify("/tokens");
}

}  // namespace lacuna
