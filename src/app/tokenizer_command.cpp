#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/standard_io.h"
#include "core/atomic_file.h"
#include "core/byte_reader.h"
#include "core/check.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "data/corpus.h"
#include "data/jsonl.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

namespace lacuna {
namespace {

// Text is encoded in pieces of at most this, so that threads share the work.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
// Ids are decoded so many at a time.
constexpr std::size_t kIdsAtOnce = std::size_t{1} << 20;

struct TrainArguments {
  TrainTokenizerOptions options;
  std::vector<std::string> inputs;
  std::string output, format = "text", text_field = "text", split = "llama3";
};

std::string ratio(std::int64_t a, std::int64_t b) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", double(a) / double(b));
  return text;
}

void train(const TrainArguments& a) {
  check(a.options);
  for (const std::string& input : a.inputs) {
    std::error_code error;
    if (input == a.output || std::filesystem::equivalent(input, a.output, error))
      fail_usage(str(input, " is both an input and the output"));
  }
  const bool jsonl = a.format == "jsonl";
  CorpusReader reader(a.inputs, corpus_format(a.format), cut_between_words(a.options.split),
                      a.text_field);
  const Stopwatch stopwatch;
  const TrainedTokenizer trained = train_tokenizer(
      [&](std::string& text) {
        CorpusPiece piece;
        if (!reader.next(piece)) return false;
        text = jsonl ? jsonl_text(piece.bytes, a.text_field, reader.place(piece))
                     : std::move(piece.bytes);
        return true;
      },
      a.options);
  write_file(a.output, trained.json);
  const double seconds = stopwatch.seconds();
  if (trained.vocab_size < a.options.vocab_size)
    log_warning(str("the corpus gives no more than ", with_commas(trained.vocab_size),
                    " tokens; no further pair of them occurs ", a.options.min_count, " times"));
  std::printf(
      "%s: %s tokens (256 bytes, %s merges, %s special) from %s of text, %s bytes per token, in "
      "%s\n",
      printable(a.output).c_str(), with_commas(trained.vocab_size).c_str(),
      with_commas(trained.merges).c_str(), with_commas(trained.special_tokens).c_str(),
      human_bytes(trained.bytes).c_str(), ratio(trained.bytes, trained.tokens).c_str(),
      human_duration(seconds).c_str());
}

/// A piece of the text on its way through a thread.
struct Work {
  std::string text, ids;
};

void encode_piece(const Tokenizer& tokenizer, Tokenizer::Special special, Work& work) {
  char digits[16];
  for (const std::int32_t id : tokenizer.encode(work.text, special)) {
    const auto end = std::to_chars(digits, digits + sizeof digits, id).ptr;
    work.ids.append(digits, end);
    work.ids += ' ';
  }
}

void encode(const std::string& path, Tokenizer::Special special, int threads) {
  const Tokenizer tokenizer = Tokenizer::load(path);
  const CutText cut = cut_between_words(tokenizer, special);
  ThreadPool pool(threads);
  ByteReader input(STDIN_FILENO, "standard input");
  StandardOutput output;
  std::vector<Work> batch;
  bool first = true;
  for (bool more = true; more;) {
    batch.clear();
    while (more && batch.size() < std::size_t(pool.size()) * 2) {
      const std::size_t length =
          piece_length([&](std::size_t n) { return input.ahead(n); }, kPieceBytes, cut);
      batch.push_back({input.take(length), ""});
      more = !input.ahead(1).empty();
    }
    pool.for_each(std::int64_t(batch.size()), [&](std::int64_t i, int) {
      encode_piece(tokenizer, special, batch[std::size_t(i)]);
    });
    for (Work& work : batch) {
      if (work.ids.empty()) continue;
      work.ids.pop_back();
      if (!first) output.write(" ");
      output.write(work.ids);
      first = false;
    }
  }
  output.write("\n");
  output.flush();
}

// Up to kIdsAtOnce of the ids in standard input; `position` counts them all.
std::vector<std::int32_t> read_ids(ByteReader& input, const Tokenizer& tokenizer,
                                   std::int64_t& position) {
  constexpr std::size_t longest = 64;  // of a word that may be an id; more is cut in messages
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  std::vector<std::int32_t> ids;
  while (ids.size() < kIdsAtOnce) {
    std::string_view text = input.ahead(longest);
    std::size_t spaces = 0;
    while (spaces < text.size() && is_space(text[spaces])) ++spaces;
    if (spaces > 0) {
      input.skip(spaces);
      continue;
    }
    if (text.empty()) break;
    std::size_t length = 0;
    while (length < text.size() && !is_space(text[length])) ++length;
    const std::string word = input.take(length);
    ++position;
    std::int32_t id = -1;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), id);
    CHECK(parsed.ec == std::errc{} && parsed.ptr == word.data() + word.size() && tokenizer.has(id),
          "standard input: number ", position, ", \"", word.substr(0, longest),
          "\", is not an id of the tokenizer, ", "which has ", tokenizer.vocab_size());
    ids.push_back(id);
  }
  return ids;
}

void decode(const std::string& path, bool skip_special) {
  const Tokenizer tokenizer = Tokenizer::load(path);
  ByteReader input(STDIN_FILENO, "standard input");
  StandardOutput output;
  std::int64_t position = 0;
  for (;;) {
    const std::vector<std::int32_t> ids = read_ids(input, tokenizer, position);
    if (ids.empty()) break;
    output.write(tokenizer.decode(ids, skip_special));
  }
  output.flush();
}

void add_train(Command parent) {
  auto a = std::make_shared<TrainArguments>();
  const Command command = parent.add_subcommand("train", "Learn byte-level BPE from a corpus");
  command.add_option("--input", a->inputs, "files of the corpus, or pipes").required();
  command
      .add_option("--vocab-size", a->options.vocab_size,
                  "tokens in all: 256 bytes, merges, special tokens")
      .required();
  command.add_option("--output", a->output, "tokenizer.json to write").required();
  command
      .add_option(
          "--format", a->format,
          "text; jsonl: a line is a document, in its text field; or parquet: a row is one, in "
          "its column of texts")
      .one_of({"text", "jsonl", "parquet"})
      .show_default();
  command
      .add_option("--text-field", a->text_field,
                  "jsonl: the field that holds the text; parquet: the column")
      .show_default();
  command.add_option("--split", a->split, "whose pattern cuts text into words")
      .one_of({"gpt2", "llama3"})
      .show_default();
  command
      .add_option("--min-count", a->options.min_count, "pairs that occur less often do not merge")
      .show_default();
  command.add_option("--special-token", a->options.special_tokens,
                     "further special tokens, after <|mdm_mask|>, <|endoftext|>, <|pad|> and the "
                     "chat markers");
  command.add_option("--threads", a->options.threads, "0: every core the process may use")
      .thread_count()
      .show_default();
  command.callback([a] {
    a->options.split = a->split == "gpt2" ? SplitPattern::gpt2 : SplitPattern::llama3;
    train(*a);
  });
}

void add_encode(Command parent) {
  struct Arguments {
    std::string tokenizer, special = "as_token";
    int threads = 0;
  };
  auto a = std::make_shared<Arguments>();
  const Command command =
      parent.add_subcommand("encode", "Standard input, as one text, to ids with spaces between");
  command.add_option("--tokenizer", a->tokenizer, "tokenizer.json").required();
  command
      .add_option("--special", a->special,
                  "what the text of a special token becomes: as_token, its id; as_text, the ids of "
                  "its characters")
      .one_of({"as_token", "as_text"})
      .show_default();
  command.add_option("--threads", a->threads, "0: every core the process may use")
      .thread_count()
      .show_default();
  command.callback([a] {
    encode(a->tokenizer,
           a->special == "as_text" ? Tokenizer::Special::as_text : Tokenizer::Special::as_token,
           a->threads);
  });
}

void add_decode(Command parent) {
  struct Arguments {
    std::string tokenizer;
    bool skip_special = false;
  };
  auto a = std::make_shared<Arguments>();
  const Command command =
      parent.add_subcommand("decode", "Ids in standard input to the bytes they stand for");
  command.add_option("--tokenizer", a->tokenizer, "tokenizer.json").required();
  command.add_flag("--skip-special", a->skip_special, "leave special tokens out");
  command.callback([a] { decode(a->tokenizer, a->skip_special); });
}

}  // namespace

void add_tokenizer_command(Command app) {
  const Command command = app.add_subcommand("tokenizer", "Train a tokenizer, or apply one");
  command.require_subcommand();
  add_train(command);
  add_encode(command);
  add_decode(command);
}

}  // namespace lacuna
