#pragma once
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

enum class CorpusFormat : std::uint8_t {
  text,   // each file is one document
  jsonl,  // each line is a JSON object, one field of which is the document
};

/// Part of a corpus, as read: of a text document, about a MiB; of a JSONL file, one line.
struct CorpusPiece {
  std::string bytes;
  std::size_t file = 0;       // which of the files
  std::int64_t line = 0;      // JSONL: its line, from 1
  bool ends_document = true;  // the document's last piece
};

/// Where to cut a text, at most at `limit`, into parts that can be tokenised independently
/// (tokenizer/cut.h). It sees kCutContext bytes beyond the limit, where there are as many.
using CutText = std::function<std::size_t(std::string_view text, std::size_t limit)>;

/// Reads the files of a corpus one after another, in pieces that can be tokenised independently, so
/// that neither a file nor a document need fit in memory. Pipes will do as files.
class CorpusReader {
 public:
  /// Throws Error for a file that is missing, unreadable, a folder, empty or compressed: at once
  /// where that can be seen without reading, else when it is reached.
  CorpusReader(std::vector<std::string> files, CorpusFormat format, CutText cut);

  /// Splits the only document of a text corpus in two near byte `at`, at the end of a line or word.
  void split_at(std::int64_t at) { split_ = at; }
  /// The next piece; false at the end. Lines of white space are passed over.
  bool next(CorpusPiece& piece);

  const std::string& file(std::size_t i) const { return files_[i]; }
  /// Bytes read so far, and in all files together: -1 when one is a pipe.
  std::int64_t position() const { return position_; }
  std::int64_t size() const { return size_; }

 private:
  bool open_next();
  bool next_text(CorpusPiece& piece);
  bool next_line(CorpusPiece& piece);
  void fill(std::size_t bytes);

  std::vector<std::string> files_;
  CorpusFormat format_;
  CutText cut_;
  std::size_t opened_ = 0;  // files opened so far; the present one is opened_ - 1
  std::ifstream in_;
  std::string buffer_;  // text: read and not yet given out
  bool at_end_ = true;  // of the present file
  std::int64_t line_ = 0, position_ = 0, size_ = 0, split_ = -1;
};

/// Bytes of `text` that are not part of valid UTF-8.
std::int64_t invalid_utf8_bytes(std::string_view text);

}  // namespace lacuna
