#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/corpus.h"

namespace lacuna {

struct PrepareOptions {
  std::string tokenizer;            // file with a tokenizer.json
  std::string tokenizer_json;       // its text; empty: read from the file
  std::vector<std::string> inputs;  // read in this order
  std::string output;               // token file to write
  CorpusFormat format = CorpusFormat::text;
  std::string text_field = "text";    // JSONL: the field that holds a document; Parquet: the column
  std::string validation;             // a second token file, or empty
  double validation_fraction = 0.05;  // of the documents
  std::int64_t validation_parts = 0;  // of a single text; 0: as many as have 4 KiB, at most 64
  std::uint64_t seed = 1;             // which documents these are
  std::int64_t row_length = 0;        // tokens of a row (DocumentWriter); 0: no rows
  // Of one of the inputs that prepare_shards() makes token files of: its number among them, so that
  // each draws other documents; no document is a file, too. -1: these are all inputs.
  std::int64_t input = -1;
  std::string prepared_from;       // kept in the token files (TokenFileInfo)
  std::int64_t max_malformed = 0;  // JSONL: malformed records left out, before one is an Error
  int threads = 0;                 // 0: every core the process may use
};

/// What went into one token file.
struct PreparedPart {
  std::int64_t documents = 0, tokens = 0, bytes = 0;  // bytes of text
  std::int64_t rows = 0;
};
struct PrepareResult {
  PreparedPart train, validation;
  std::int64_t empty_documents = 0;  // JSONL documents without a byte, left out
  std::int64_t malformed = 0;        // JSONL records left out
  std::int64_t invalid_bytes = 0;    // not valid UTF-8, and kept
  std::int64_t nul_bytes = 0;        // kept
};

/// Tokenises a corpus into one or two token files, with memory bounded whatever its size (but for
/// the longest JSON record, and words of more than a MiB). Each document is followed by the
/// tokenizer's end token; the text of a special token inside a document is text like any other, so
/// that no corpus can forge one. The result depends on the inputs and options alone, not on the
/// number of threads.
///
/// Validation: of n text documents, round(n · fraction), drawn at random, but at least one and not
/// all; of a single one, parts spread evenly over it, each cut at lines and a document of its own,
/// as is each part between them. Of JSONL documents, each with that probability (their number is
/// unknown until the end). What is drawn depends on the seed and the document's number alone.
///
/// Throws Error, naming file and line, for what CorpusReader refuses, more than max_malformed JSON
/// records that are malformed or lack the text field, a tokenizer without an end token, ids outside
/// the vocabulary, a part that would be empty, or a failed write; UsageError for options that
/// contradict each other. No file then appears or changes under a final name.
PrepareResult prepare(const PrepareOptions& options);

}  // namespace lacuna
