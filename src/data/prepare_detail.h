#pragma once
// For prepare.cpp and prepare_chat.cpp alone: what preparations of texts and of dialogues share.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "core/check.h"
#include "data/corpus.h"
#include "data/document_writer.h"
#include "data/prepare.h"
#include "data/token_file.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

// The streams of the data order from here on choose validation documents; epochs never count this
// far.
inline constexpr std::uint64_t kSplitStream = std::uint64_t{1} << 63;

/// What is refused before anything is read. UsageError.
void check_prepare_options(const PrepareOptions& options);

/// Whether JSONL document `document` (counted from 0) is drawn for validation.
bool held_out(std::int64_t document, double fraction, std::uint64_t seed);
/// The same by the options: none without a validation file, and of one of several inputs
/// (PrepareOptions::input) others than of the next.
bool held_out(const PrepareOptions& options, std::int64_t document);

Tokenizer tokenizer_of(const PrepareOptions& options);
/// What the tokenizer says of a token file. Error when it has no end token, which must follow
/// `each` ("every document").
TokenFileInfo token_file_info(const Tokenizer& tokenizer, const PrepareOptions& options,
                              const char* each);

/// The next pieces, of `bytes` or a little more together; each is a Work's `piece`. False when
/// there are none left. What cannot be read is the last one's `error`, so that the pieces before it
/// have their say first.
template <class Work>
bool read_batch(CorpusReader& reader, std::size_t bytes, std::vector<Work>& batch) {
  batch.clear();
  for (std::size_t read = 0; read < bytes;) {
    Work work;
    try {
      if (!reader.next(work.piece)) break;
    } catch (const Error&) {
      work.error = std::current_exception();
      batch.push_back(std::move(work));
      break;
    }
    read += work.piece.bytes.size();
    batch.push_back(std::move(work));
  }
  return !batch.empty();
}

/// Malformed records that are left out, up to a limit.
class MalformedRecords {
 public:
  explicit MalformedRecords(std::int64_t most) : most_(most) {}
  /// Counts one; rethrows what is wrong with it once there are more than the limit.
  void add(const std::exception_ptr& error);
  std::int64_t count() const { return count_; }
  /// A warning that tells of the first, if there are any.
  void warn() const;

 private:
  const std::int64_t most_;
  std::int64_t count_ = 0;
  std::string first_;
};

/// The token file, or two, that a preparation writes.
class PreparedFiles {
 public:
  PreparedFiles(const PrepareOptions& options, const TokenFileInfo& info);

  DocumentWriter& train() { return *train_; }
  DocumentWriter* validation() { return validation_ ? &*validation_ : nullptr; }
  DocumentWriter& of(bool to_validation) { return to_validation ? *validation_ : *train_; }
  std::int64_t tokens() const;
  /// Error when one of `documents` documents went to neither or to one alone, but for one of
  /// several inputs.
  void check_not_empty(const PrepareOptions& options, std::int64_t documents);
  /// Both are whole on disk before either takes its name.
  void commit(PreparedPart& train, PreparedPart& validation);

 private:
  std::optional<DocumentWriter> train_, validation_;
};

}  // namespace lacuna
