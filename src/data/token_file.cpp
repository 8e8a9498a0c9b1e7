#include "data/token_file.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/input_file.h"
#include "data/megatron_tokens.h"
#include "data/sha256.h"
#include "data/token_manifest.h"
#include "data/token_storage.h"

namespace lacuna {
namespace {

// Above this many bytes, opening files does not read them all to check them.
constexpr std::int64_t kVerifyOnOpen = std::int64_t{1} << 30;

std::vector<std::unique_ptr<TokenStorage>> open_shards(const std::filesystem::path& path,
                                                       std::int64_t& unread) {
  const TokenManifest manifest = parse_manifest(read_file(path), path.string());
  std::vector<std::unique_ptr<TokenStorage>> all;
  for (const TokenManifest::Shard& shard : manifest.shards) {
    if (shard.file.empty()) continue;
    all.push_back(open_hdf5_tokens(path.parent_path() / shard.file, unread));
    TokenStorage& part = *all.back();
    CHECK(part.tokens == shard.tokens && part.documents == shard.documents, part.name, ": has ",
          part.tokens, " tokens in ", part.documents, " documents, where ", path.string(), " says ",
          shard.tokens, " in ", shard.documents);
    CHECK(sha256(part.info.tokenizer_json) == manifest.tokenizer_sha256, part.name,
          ": was made with another tokenizer than ", path.string(), " says");
    const TokenStorage& first = *all.front();
    CHECK(part.info.responses == first.info.responses && part.info.pairs == first.info.pairs &&
              part.info.row_length == first.info.row_length,
          part.name, ": was prepared in another way than ", first.name);
    if (all.size() > 1) part.info.tokenizer_json = {};  // the first one's
  }
  return all;
}

}  // namespace

struct TokenFile::State {
  std::string name;
  std::vector<std::unique_ptr<TokenStorage>> parts;
  // [parts + 1]: where each part's begin among all.
  std::vector<std::int64_t> tokens{0}, documents{0}, rows{0};
  TokenFileInfo info;

  /// Of the part in which item `i` lies, by one of the three above; the last one's end is its own.
  static std::size_t part_of(const std::vector<std::int64_t>& starts, std::int64_t i) {
    const auto after = std::upper_bound(starts.begin(), starts.end() - 1, i);
    return std::size_t(after - starts.begin()) - 1;
  }
  /// Calls use(part, first, n) for the runs of tokens [first, first + count) within parts.
  template <class Use>
  void for_each_part(std::int64_t first, std::int64_t count, Use&& use) const {
    for (std::size_t part = part_of(tokens, first); count > 0; ++part) {
      const std::int64_t n = std::min(count, tokens[part + 1] - first);
      use(*parts[part], first - tokens[part], n);
      first += n;
      count -= n;
    }
  }
};

TokenFile::TokenFile(const std::filesystem::path& path, std::int64_t vocab_size)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.name = path.string();
  std::int64_t unread = kVerifyOnOpen;
  if (const auto index = megatron_index(path)) {
    s.parts.push_back(open_megatron_tokens(*index, unread));
    s.parts.front()->info.vocab_size = vocab_size;
  } else if (const std::filesystem::path manifest = manifest_of(path); !manifest.empty()) {
    s.parts = open_shards(manifest, unread);
  } else {
    s.parts.push_back(open_hdf5_tokens(path, unread));
  }
  for (const auto& part : s.parts) {
    s.tokens.push_back(s.tokens.back() + part->tokens);
    s.documents.push_back(s.documents.back() + part->documents);
    s.rows.push_back(s.rows.back() + part->rows);
  }
  s.info = s.parts.front()->info;
}

TokenFile::~TokenFile() = default;
TokenFile::TokenFile(TokenFile&&) noexcept = default;
TokenFile& TokenFile::operator=(TokenFile&&) noexcept = default;

const std::string& TokenFile::path() const { return state_->name; }
std::int64_t TokenFile::tokens() const { return state_->tokens.back(); }
std::int64_t TokenFile::documents() const { return state_->documents.back(); }
std::int64_t TokenFile::vocab_size() const { return state_->info.vocab_size; }
std::int64_t TokenFile::mask_token() const { return state_->info.mask_token; }
std::int64_t TokenFile::eos_token() const { return state_->info.eos_token; }
const std::string& TokenFile::tokenizer_json() const { return state_->info.tokenizer_json; }
bool TokenFile::has_responses() const { return state_->info.responses; }
bool TokenFile::has_pairs() const { return state_->info.pairs; }
std::int64_t TokenFile::row_length() const { return state_->info.row_length; }
std::int64_t TokenFile::rows() const { return state_->rows.back(); }

std::vector<std::string> TokenFile::files() const {
  std::vector<std::string> names;
  for (const auto& part : state_->parts) names.push_back(part->name);
  return names;
}

std::int64_t TokenFile::offset(std::int64_t i) const {
  const State& s = *state_;
  CHECK(i >= 0 && i <= documents(), s.name, ": has no document ", i, "; it holds ", documents());
  const std::size_t part = State::part_of(s.documents, i);
  return s.tokens[part] + s.parts[part]->offset(i - s.documents[part]);
}

std::int64_t TokenFile::row(std::int64_t i) const {
  const State& s = *state_;
  CHECK(i >= 0 && i <= rows() && rows() > 0, s.name, ": has no row ", i, "; it holds ", rows());
  const std::size_t part = State::part_of(s.rows, i);
  return s.tokens[part] + s.parts[part]->row(i - s.rows[part]);
}

std::int64_t TokenFile::document_of(std::int64_t token) const {
  const State& s = *state_;
  CHECK(token >= 0 && token < tokens(), s.name, ": has no token ", token, "; it holds ", tokens());
  const std::size_t part = State::part_of(s.tokens, token);
  const TokenStorage& storage = *s.parts[part];
  // The last document that begins at or before it; those without a token begin where the next does.
  std::int64_t low = 0, high = storage.documents;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (storage.offset(middle) <= token - s.tokens[part] ? low : high) = middle;
  }
  return s.documents[part] + low;
}

void TokenFile::read(std::int64_t first, std::span<std::int32_t> out) const {
  const State& s = *state_;
  const auto n = std::int64_t(out.size());
  CHECK(first >= 0 && first <= tokens() - n, s.name, ": tokens ", first, " to ", first + n,
        " were asked for; it holds ", tokens());
  s.for_each_part(first, n, [&](const TokenStorage& part, std::int64_t at, std::int64_t count) {
    const std::span<std::int32_t> ids = out.first(std::size_t(count));
    out = out.subspan(std::size_t(count));
    part.read(at, ids);
    const std::int64_t vocabulary = s.info.vocab_size;
    if (vocabulary == 0) return;
    std::uint32_t largest = 0;  // a negative id is larger than all
    for (const std::int32_t id : ids) largest = std::max(largest, std::uint32_t(id));
    if (std::int64_t(largest) < vocabulary) return;
    for (std::int64_t i = 0; i < count; ++i)
      CHECK(ids[std::size_t(i)] >= 0 && ids[std::size_t(i)] < vocabulary, part.name, ": token ",
            at + i, " is ", ids[std::size_t(i)], ", not an id of its vocabulary of ", vocabulary);
  });
}

void TokenFile::read_responses(std::int64_t first, std::span<std::uint8_t> out) const {
  const State& s = *state_;
  const auto n = std::int64_t(out.size());
  CHECK(s.info.responses, s.name, ": has no /response; prepare it with --format chat");
  CHECK(first >= 0 && first <= tokens() - n, s.name, ": responses ", first, " to ", first + n,
        " were asked for; it holds ", tokens());
  s.for_each_part(first, n, [&](const TokenStorage& part, std::int64_t at, std::int64_t count) {
    const std::span<std::uint8_t> some = out.first(std::size_t(count));
    out = out.subspan(std::size_t(count));
    part.read_responses(at, some);
    for (std::int64_t i = 0; i < count; ++i)
      CHECK(some[std::size_t(i)] <= 1, part.name, ": /response of token ", at + i, " is ",
            int(some[std::size_t(i)]), ", neither 0 nor 1");
  });
}

void TokenFile::verify() const {
  for (const auto& part : state_->parts) part->verify();
}

}  // namespace lacuna
