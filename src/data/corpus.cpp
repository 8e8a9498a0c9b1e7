#include "data/corpus.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/check.h"
#include "tokenizer/cut.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

// Text is given out in pieces of at most this: large enough that the cut between two of them costs
// nothing, small enough that a few per thread fit anywhere.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

}  // namespace

std::int64_t invalid_utf8_bytes(std::string_view text) {
  std::int64_t invalid = 0;
  for (;;) {
    text.remove_prefix(valid_prefix(text));
    if (text.empty()) return invalid;
    text.remove_prefix(1);
    ++invalid;
  }
}

CorpusReader::CorpusReader(std::vector<std::string> files, CorpusFormat format, CutText cut)
    : files_(std::move(files)), format_(format), cut_(std::move(cut)) {
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

bool CorpusReader::open_next() {
  if (opened_ == files_.size()) return false;
  const std::string& name = files_[opened_++];
  in_.close();
  in_.clear();
  in_.open(name, std::ios::binary);
  CHECK(in_, name, ": ", std::strerror(errno));
  buffer_.clear();
  line_ = 0;
  at_end_ = false;
  const int first = in_.peek();
  CHECK(first != std::ifstream::traits_type::eof(), name, ": is empty");
  if (first == 0x1f) {  // gzip; a control character that no text begins with
    fail(str(name, ": is compressed; unpack it, or give it as <(zcat ", name, ")"));
  }
  return true;
}

void CorpusReader::fill(std::size_t bytes) {
  const std::size_t had = buffer_.size();
  if (had >= bytes || at_end_) return;
  buffer_.resize(bytes);
  in_.read(buffer_.data() + had, std::streamsize(bytes - had));
  const auto got = std::size_t(in_.gcount());
  buffer_.resize(had + got);
  position_ += std::int64_t(got);
  CHECK(!in_.bad(), files_[opened_ - 1], ": cannot read: ", std::strerror(errno));
  at_end_ = had + got < bytes;
}

bool CorpusReader::next(CorpusPiece& piece) {
  return format_ == CorpusFormat::text ? next_text(piece) : next_line(piece);
}

bool CorpusReader::next_text(CorpusPiece& piece) {
  if (at_end_ && buffer_.empty() && !open_next()) return false;
  fill(kPieceBytes + kCutContext);
  const std::int64_t given_out = position_ - std::int64_t(buffer_.size());
  const bool split_here = split_ > given_out && split_ <= given_out + std::int64_t(kPieceBytes);
  const bool last = at_end_ && buffer_.size() <= kPieceBytes && !split_here;
  std::size_t cut = buffer_.size();
  if (split_here)
    cut = cut_(buffer_, std::min(std::size_t(split_ - given_out), buffer_.size()));
  else if (!last)
    cut = cut_(buffer_, kPieceBytes);
  piece = {buffer_.substr(0, cut), opened_ - 1, 0, last || split_here};
  buffer_.erase(0, cut);
  if (split_here) split_ = -1;
  return true;
}

bool CorpusReader::next_line(CorpusPiece& piece) {
  for (;;) {
    if (at_end_ && !open_next()) return false;
    std::string line;
    if (!std::getline(in_, line)) {
      CHECK(!in_.bad(), files_[opened_ - 1], ": cannot read: ", std::strerror(errno));
      at_end_ = true;
      continue;
    }
    ++line_;
    position_ += std::int64_t(line.size()) + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    piece = {std::move(line), opened_ - 1, line_, true};
    return true;
  }
}

}  // namespace lacuna
