#include "data/corpus.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/check.h"
#include "data/file_kind.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

// Text is given out in pieces of at most this: large enough that the cut between two of them costs
// nothing, small enough that a few per thread fit anywhere.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
// How far before a split the end of a line is looked for.
constexpr std::size_t kLineReach = 1024;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
// In the order of CorpusFormat.
constexpr const char* kFormatWords[] = {"text", "megatron", "parquet", "jsonl"};

}  // namespace

CorpusFormat corpus_format(const std::string& word) {
  const auto found = std::find(std::begin(kFormatWords), std::end(kFormatWords), word);
  CHECK(found != std::end(kFormatWords), "a corpus has no format '", word, "'");
  return CorpusFormat(found - std::begin(kFormatWords));
}

const char* word_of(CorpusFormat format) { return kFormatWords[std::size_t(format)]; }

std::int64_t invalid_utf8_bytes(std::string_view text) {
  std::int64_t invalid = 0;
  for (;;) {
    text.remove_prefix(valid_prefix(text));
    if (text.empty()) return invalid;
    text.remove_prefix(1);
    ++invalid;
  }
}

CorpusReader::CorpusReader(std::vector<std::string> files, CorpusFormat format, CutText cut,
                           std::string column)
    : files_(std::move(files)), format_(format), cut_(std::move(cut)), column_(std::move(column)) {
  CHECK(!files_.empty(), "no input files were given");
  for (const std::string& file : files_) {
    std::error_code error;
    const auto status = std::filesystem::status(file, error);
    CHECK(std::filesystem::exists(status), file, ": no such file");
    CHECK(!std::filesystem::is_directory(status), file,
          ": is a folder, not a file; name the files in it");
    CHECK(access(file.c_str(), R_OK) == 0, file, ": ", std::strerror(errno));
    if (!std::filesystem::is_regular_file(status)) {
      size_ = -1;
      continue;
    }
    const auto bytes = std::int64_t(std::filesystem::file_size(file, error));
    CHECK(!error, file, ": ", error.message());
    CHECK(bytes > 0, file, ": is empty");
    if (size_ >= 0) size_ += bytes;
  }
}

std::int64_t CorpusReader::text_bytes(std::size_t file) const {
  if (!std::filesystem::is_regular_file(files_[file])) return -1;
  TextInput in(files_[file]);
  if (!in.compressed()) return std::int64_t(std::filesystem::file_size(files_[file]));
  while (const std::size_t bytes = in.text().ahead(1).size()) in.text().skip(bytes);
  return in.text().position();
}

bool CorpusReader::open_next() {
  if (opened_ == files_.size()) return false;
  before_ = position();
  consumed_before_ = consumed();
  records_.reset();
  const std::string& name = files_[opened_++];
  if (format_ == CorpusFormat::parquet) {
    row_bytes_ = 0;
    rows_.emplace(name, column_);
    return true;
  }
  in_.emplace(name);
  const std::string_view head = in_->text().ahead(kFileHead);
  CHECK(!head.empty(), name, in_->compressed() ? ": is empty when unpacked" : ": is empty");
  const std::string fault = not_text(head.substr(0, kFileHead), name);
  CHECK(fault.empty(), name, ": ", fault);
  if (format_ == CorpusFormat::jsonl)
    records_.emplace(in_->text());
  else if (head.starts_with(kByteOrderMark))
    in_->text().skip(kByteOrderMark.size());
  return true;
}

bool CorpusReader::next(CorpusPiece& piece) {
  switch (format_) {
    case CorpusFormat::text:
      return next_text(piece);
    case CorpusFormat::jsonl:
      return next_record(piece);
    case CorpusFormat::parquet:
    case CorpusFormat::megatron:
      break;
  }
  return next_row(piece);
}

std::size_t CorpusReader::length_of_next() {
  const auto ahead = [&](std::size_t bytes) { return in_->text().ahead(bytes); };
  const std::size_t length = piece_length(ahead, kPieceBytes, cut_);
  if (splits_.empty()) return length;
  const std::int64_t left = splits_.front() - position();
  if (left > std::int64_t(std::max(kPieceBytes, length))) return length;
  splits_.pop_front();
  return split_point(std::size_t(left));
}

/// Where lines are longer, the end of a word.
std::size_t CorpusReader::split_point(std::size_t near) {
  const std::string_view text = in_->text().ahead(near + kCutContext);
  const std::size_t limit = std::min(near, text.size());
  const std::size_t newline = text.rfind('\n', limit - 1);
  if (newline != std::string_view::npos && limit - newline <= kLineReach) return newline + 1;
  const std::size_t cut = cut_(text, limit);
  return cut > 0 ? cut : cut_anywhere(text, limit);
}

bool CorpusReader::next_text(CorpusPiece& piece) {
  while (!in_ || in_->text().ahead(1).empty())
    if (!open_next()) return false;
  while (!splits_.empty() && splits_.front() <= position()) splits_.pop_front();
  const std::size_t splits = splits_.size();
  std::string bytes = in_->text().take(length_of_next());
  const bool was_split = splits_.size() < splits;
  piece = {std::move(bytes), opened_ - 1, 0, 0, was_split || in_->text().ahead(1).empty()};
  return true;
}

bool CorpusReader::next_record(CorpusPiece& piece) {
  for (JsonRecords::Record record;;) {
    if (records_ && records_->next(record)) {
      piece = {std::move(record.json), opened_ - 1, record.line, record.element, true};
      return true;
    }
    if (!open_next()) return false;
  }
}

/// A row without a text is a document without a byte.
bool CorpusReader::next_row(CorpusPiece& piece) {
  for (std::optional<std::string_view> text;;) {
    if (rows_ && rows_->next(text)) {
      piece = {std::string(text.value_or("")), opened_ - 1, rows_->row(), 0, true};
      row_bytes_ += std::int64_t(piece.bytes.size());
      return true;
    }
    if (!open_next()) return false;
  }
}

std::string CorpusReader::place(const CorpusPiece& piece) const {
  if (format_ == CorpusFormat::parquet) return str(files_[piece.file], ", row ", piece.line);
  const std::string line = str(files_[piece.file], ":", piece.line);
  return piece.element == 0 ? line : str(line, " (element ", piece.element, " of the array)");
}

}  // namespace lacuna
