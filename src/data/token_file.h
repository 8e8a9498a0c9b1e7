#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lacuna {

/// What a token file says about the tokenizer that made it.
struct TokenFileInfo {
  std::int64_t vocab_size = 0;   // every id lies in [0, vocab_size)
  std::int64_t mask_token = -1;  // -1: the tokenizer has none
  std::int64_t eos_token = -1;   // follows every document
  std::string tokenizer_json;    // tokenizer.json itself, so that the file stands alone
  bool responses = false;        // whether /response says which tokens are to be predicted
  bool pairs = false;            // whether documents 2i and 2i + 1 are preferred and rejected ones
  std::int64_t row_length = 0;   // of /rows, the most tokens of a row; 0: there are no rows
  std::string prepared_from = {};  // what it was made of, JSON; for lacuna prepare alone
};

/// Writes an HDF5 token file, in order and in pieces of any size, so that a corpus need not fit in
/// memory: /tokens [M], u16 where the vocabulary has at most 65,536 ids and i32 otherwise, /offsets
/// i64 [documents + 1] (document i is tokens offsets[i] to offsets[i + 1], its end token included),
/// and the attributes format, version, vocab_size, mask_token, eos_token, tokenizer and
/// tokenizer_sha256. For fine-tuning also /response u8 [M], 1 where a token is part of the reply;
/// of preference pairs the attribute pairs, 1. With rows, /rows i64 [R + 1] and the attribute
/// row_length: row r is tokens rows[r] to rows[r + 1], whole documents or parts of them, at most
/// row_length. The file appears under its name only when finish() and commit() are done; otherwise
/// nothing is left.
class TokenFileWriter {
 public:
  TokenFileWriter(std::filesystem::path path, TokenFileInfo info);
  ~TokenFileWriter();
  TokenFileWriter(const TokenFileWriter&) = delete;
  TokenFileWriter& operator=(const TokenFileWriter&) = delete;

  /// More tokens of the present document. Throws Error for an id outside the vocabulary.
  /// `response` is kept only in a file that was announced to have responses.
  void append(std::span<const std::int32_t> tokens, bool response = false);
  /// The present document is complete.
  void end_document();
  /// The present row is complete: of a file that was announced to have rows, after end_document().
  void end_row();
  std::int64_t tokens() const;
  std::int64_t documents() const;

  /// Writes the offsets and checksums and closes the file, still under its temporary name: all that
  /// a full disk can spoil. Throws Error when it holds no document or the last is not complete.
  void finish();
  /// Gives the finished file its name.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Tokens to learn from, open for reading: a token file; a folder of them with its manifest
/// (data/token_manifest.h), end to end in its order; or a Megatron dataset
/// (data/megatron_tokens.h). The files are mapped, so that they may be larger than memory and of
/// any number, and may be read by several threads.
class TokenFile {
 public:
  /// `vocab_size`: of a Megatron dataset, which does not say. Throws Error, naming the file, when
  /// it is missing, truncated, of another format or version, when it is not what its manifest says,
  /// when its offsets are not increasing from 0 to the number of tokens, or when a checksum does
  /// not match. Checksums and offsets cost a pass over the file, so above 1 GiB of them together
  /// the rest is left to verify(), and to what read() and offset() notice.
  explicit TokenFile(const std::filesystem::path& path, std::int64_t vocab_size = 0);
  ~TokenFile();
  TokenFile(TokenFile&&) noexcept;
  TokenFile& operator=(TokenFile&&) noexcept;

  const std::string& path() const;
  std::int64_t tokens() const;
  std::int64_t documents() const;
  /// 0: unknown.
  std::int64_t vocab_size() const;
  std::int64_t mask_token() const;
  std::int64_t eos_token() const;
  const std::string& tokenizer_json() const;
  /// Whether it has /response: made by `lacuna prepare --format chat`.
  bool has_responses() const;
  /// Whether documents 2i and 2i + 1 answer the same prompt, the first being preferred: made by
  /// `lacuna prepare --format preference`.
  bool has_pairs() const;
  /// Where document i begins; offset(documents()) is tokens().
  std::int64_t offset(std::int64_t i) const;
  /// The document that token `token` belongs to.
  std::int64_t document_of(std::int64_t token) const;
  /// The most tokens of a row; 0 where there are no rows.
  std::int64_t row_length() const;
  std::int64_t rows() const;
  /// Where row i begins; row(rows()) is tokens().
  std::int64_t row(std::int64_t i) const;
  /// The files behind it.
  std::vector<std::string> files() const;

  /// Tokens [first, first + out.size()). Throws Error when they are not all there, or when one is
  /// not an id of the vocabulary (naming its position and value).
  void read(std::int64_t first, std::span<std::int32_t> out) const;
  /// /response of tokens [first, first + out.size()), 0 or 1. Error when there is none.
  void read_responses(std::int64_t first, std::span<std::uint8_t> out) const;
  /// Compares the checksum of every dataset with its content.
  void verify() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
