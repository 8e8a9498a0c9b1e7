#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/decompress.h"
#include "data/json_records.h"
#include "formats/parquet.h"
#include "tokenizer/cut.h"

namespace lacuna {

enum class CorpusFormat : std::uint8_t {
  text,      // each file is one document
  megatron,  // datasets of ids, which CorpusReader does not read (data/prepare_tokens.h)
  parquet,   // each row is a document, the text in one of its columns
  jsonl,  // each line is a JSON object, one field of which is the document; or each element of the
          // array that the file is
};

/// Of the word an option has for it; Error for another.
CorpusFormat corpus_format(const std::string& word);
/// That word.
const char* word_of(CorpusFormat format);

/// Part of a corpus, as read: of a text document, about a MiB; of a JSONL file, one record; of a
/// Parquet file, one row's text.
struct CorpusPiece {
  std::string bytes;
  std::size_t file = 0;       // which of the files
  std::int64_t line = 0;      // JSONL: where it begins, from 1; Parquet: its row, from 1
  std::int64_t element = 0;   // of a JSON array: its number, from 1
  bool ends_document = true;  // the document's last piece
};

/// Reads the files of a corpus one after another, in pieces that can be tokenised independently, so
/// that neither a file nor a document need fit in memory. Pipes will do as files, and what gzip and
/// zstd made (data/decompress.h). A byte order mark at a file's beginning is no part of the text.
class CorpusReader {
 public:
  /// Throws Error for a file that is missing, unreadable, a folder, empty, or not text
  /// (data/file_kind.h): at once where that can be seen without reading, else when it is reached.
  /// `column` as in ParquetTexts.
  CorpusReader(std::vector<std::string> files, CorpusFormat format, CutText cut,
               std::string column = {});

  /// Splits the only document of a text corpus into several: near each of these bytes (increasing),
  /// at the end of a line, or of a word where no line ends nearby.
  void split_at(std::vector<std::int64_t> at) { splits_ = {at.begin(), at.end()}; }
  /// The next piece; false at the end. JSONL's lines of white space are passed over.
  bool next(CorpusPiece& piece);

  /// For messages: "file:line", or "file:line (element 3 of the array)".
  std::string place(const CorpusPiece& piece) const;
  /// Bytes of text given out so far.
  std::int64_t position() const { return before_ + (in_ ? in_->text().position() : row_bytes_); }
  /// Bytes of the files read so far, and of all together: -1 when one is a pipe.
  std::int64_t consumed() const {
    return consumed_before_ + (in_ ? in_->consumed() : rows_ ? rows_->consumed() : 0);
  }
  std::int64_t size() const { return size_; }
  /// Bytes of text in file `file`, which is read for that when it is compressed: -1 for a pipe.
  std::int64_t text_bytes(std::size_t file) const;

 private:
  bool open_next();
  bool next_text(CorpusPiece& piece);
  bool next_record(CorpusPiece& piece);
  bool next_row(CorpusPiece& piece);
  std::size_t length_of_next();
  std::size_t split_point(std::size_t near);

  std::vector<std::string> files_;
  CorpusFormat format_;
  CutText cut_;
  std::string column_;
  std::size_t opened_ = 0;  // files opened so far; the present one is opened_ - 1
  std::optional<TextInput> in_;
  std::optional<JsonRecords> records_;
  std::optional<ParquetTexts> rows_;
  // Of the files before the present one.
  std::int64_t before_ = 0, consumed_before_ = 0;
  std::int64_t row_bytes_ = 0;  // of the texts of the present one's rows
  std::int64_t size_ = 0;
  std::deque<std::int64_t> splits_;  // those still to come
};

/// Bytes of `text` that are not part of valid UTF-8.
std::int64_t invalid_utf8_bytes(std::string_view text);

}  // namespace lacuna
