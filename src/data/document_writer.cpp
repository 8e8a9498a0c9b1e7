#include "data/document_writer.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace lacuna {
namespace {

constexpr std::size_t kMostGathered = 65'536;
constexpr std::int64_t kMostGatheredTokens = std::int64_t{1} << 24;

}  // namespace

DocumentWriter::DocumentWriter(std::filesystem::path path, const TokenFileInfo& info)
    : file_(std::move(path), info), row_length_(info.row_length) {}

void DocumentWriter::write_row(std::span<const std::int32_t> tokens) {
  file_.append(tokens);
  file_.end_document();
  file_.end_row();
  ++rows_;
}

void DocumentWriter::append(std::span<const std::int32_t> tokens, bool response) {
  if (row_length_ == 0) return file_.append(tokens, response);
  while (!tokens.empty()) {
    const std::size_t n = std::min(tokens.size(), std::size_t(row_length_) - rest_.size());
    rest_.insert(rest_.end(), tokens.begin(), tokens.begin() + std::ptrdiff_t(n));
    tokens = tokens.subspan(n);
    if (std::int64_t(rest_.size()) < row_length_) continue;
    write_row(rest_);
    rest_.clear();
  }
}

void DocumentWriter::end_document() {
  ++documents_;
  if (row_length_ == 0) return file_.end_document();
  if (rest_.empty()) return;
  gathered_tokens_ += std::int64_t(rest_.size());
  gathered_.push_back(std::exchange(rest_, {}));
  if (gathered_.size() == kMostGathered || gathered_tokens_ >= kMostGatheredTokens) pack();
}

void DocumentWriter::pack() {
  std::stable_sort(gathered_.begin(), gathered_.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  std::vector<std::vector<std::size_t>> rows;          // of documents
  std::multimap<std::int64_t, std::size_t> with_room;  // tokens that a row has room for
  for (std::size_t i = 0; i < gathered_.size(); ++i) {
    const auto length = std::int64_t(gathered_[i].size());
    const auto fullest = with_room.lower_bound(length);
    std::size_t row = rows.size();
    std::int64_t room = row_length_;
    if (fullest == with_room.end()) {
      rows.emplace_back();
    } else {
      std::tie(room, row) = *fullest;
      with_room.erase(fullest);
    }
    rows[row].push_back(i);
    if (room > length) with_room.emplace(room - length, row);
  }
  for (const std::vector<std::size_t>& row : rows) {
    for (const std::size_t i : row) {
      file_.append(gathered_[i]);
      file_.end_document();
    }
    file_.end_row();
  }
  rows_ += std::int64_t(rows.size());
  gathered_.clear();
  gathered_tokens_ = 0;
}

void DocumentWriter::finish() {
  pack();
  file_.finish();
}

}  // namespace lacuna
