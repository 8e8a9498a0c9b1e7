#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "data/token_file.h"

namespace lacuna {

/// Writes documents into a token file, in their order; or, with info.row_length, in rows, for
/// training on separate documents (Loader). A document longer than a row is cut into rows and a
/// rest. Rests and shorter documents are gathered, up to 65,536 of them or 16 M tokens, and packed
/// by best-fit decreasing: the longest first, each into the fullest row that has room for it. What
/// comes out depends on the documents alone.
class DocumentWriter {
 public:
  DocumentWriter(std::filesystem::path path, const TokenFileInfo& info);

  /// As TokenFileWriter's.
  void append(std::span<const std::int32_t> tokens, bool response = false);
  void end_document();
  /// So far, with those that are still gathered.
  std::int64_t tokens() const {
    return file_.tokens() + gathered_tokens_ + std::int64_t(rest_.size());
  }
  std::int64_t documents() const { return documents_; }
  std::int64_t rows() const { return rows_; }
  void finish();
  void commit() { file_.commit(); }

 private:
  void write_row(std::span<const std::int32_t> tokens);
  void pack();

  TokenFileWriter file_;
  std::int64_t row_length_, documents_ = 0, rows_ = 0, gathered_tokens_ = 0;
  std::vector<std::int32_t> rest_;  // of the present document, less than a row
  std::vector<std::vector<std::int32_t>> gathered_;
};

}  // namespace lacuna
