#include "data/prepare_chat.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/text.h"
#include "data/preference_record.h"
#include "data/prepare_detail.h"

namespace lacuna {
namespace {

constexpr std::size_t kBatchBytesPerThread = std::size_t{1} << 20;
constexpr std::size_t kMostKeys = 32;

struct Example {
  std::vector<std::int32_t> prompt, reply;
  std::int64_t bytes = 0;
};
/// A record on its way from the reader to the writer.
struct Work {
  CorpusPiece piece;
  std::vector<Example> examples;
  std::array<std::int64_t, kChatSkips> skipped{};
  std::array<std::string, kChatSkips> reason;
  std::set<std::string> ignored_keys;
  std::exception_ptr error;
  bool malformed = false;  // a record, which others may follow
};

class ChatPreparation {
 public:
  ChatPreparation(const PrepareOptions& o, const ChatTemplate& chat, ChatRecords records)
      : options_(o),
        records_(records),
        tokenizer_(tokenizer_of(o)),
        format_(chat, tokenizer_),
        reader_(o.inputs, CorpusFormat::jsonl, {}),
        malformed_(o.max_malformed),
        pool_(o.threads) {
    TokenFileInfo info = token_file_info(tokenizer_, o, "every reply");
    info.responses = true;
    info.pairs = records == ChatRecords::preferences;
    files_.emplace(o, info);
  }

  PrepareChatResult run() {
    std::vector<Work> batch;
    while (read_batch(reader_, kBatchBytesPerThread * std::size_t(pool_.size()), batch)) {
      pool_.for_each(std::int64_t(batch.size()),
                     [&](std::int64_t i, int) { tokenise(batch[std::size_t(i)]); });
      for (const Work& work : batch) write(work);
      log_progress(str("tokenising: ", with_commas(result_.dialogues), " dialogues"));
    }
    log_progress("");
    finish();
    return result_;
  }

 private:
  void skip(Work& work, ChatSkip why, const std::string& reason) const {
    if (work.skipped[std::size_t(why)]++ == 0) work.reason[std::size_t(why)] = reason;
  }

  /// What keeps the reply that is message `i` from being an example, if anything does.
  bool skipped(const Message& message, std::size_t i, Work& work) const {
    if (!message.learn)
      skip(work, ChatSkip::not_trained_on, str("message ", i + 1, " is marked as not trained on"));
    else if (trimmed(message.content).empty())
      skip(work, ChatSkip::empty_response, str("message ", i + 1, " is empty"));
    else
      return false;
    return true;
  }

  void add_example(const Dialogue& dialogue, std::size_t i, Work& work) const {
    const std::string reply = trimmed(dialogue[i].content);
    work.examples.push_back({format_.prompt(std::span(dialogue).first(i)), format_.reply(reply),
                             std::int64_t(reply.size())});
  }

  void add_replies(const Dialogue& dialogue, Work& work) const {
    if (const std::string fault = role_fault(dialogue); !fault.empty())
      return skip(work, ChatSkip::roles_out_of_order, fault);
    for (std::size_t i = 0; i < dialogue.size(); ++i)
      if (dialogue[i].role == "assistant" && !skipped(dialogue[i], i, work))
        add_example(dialogue, i, work);
  }

  void add_pair(const PreferenceRecord& pair, Work& work) const {
    if (const std::string fault = role_fault(pair.chosen); !fault.empty())
      return skip(work, ChatSkip::roles_out_of_order, fault);
    const std::size_t last = pair.chosen.size() - 1;
    if (skipped(pair.chosen[last], last, work) || skipped(pair.rejected[last], last, work)) return;
    if (trimmed(pair.chosen[last].content) == trimmed(pair.rejected[last].content))
      return skip(work, ChatSkip::same_replies, "both replies are the same");
    add_example(pair.chosen, last, work);
    add_example(pair.rejected, last, work);
  }

  void tokenise(Work& work) const {
    if (work.error) return;
    try {
      const std::string place = reader_.place(work.piece);
      const std::string record = std::exchange(work.piece.bytes, {});
      if (records_ == ChatRecords::preferences)
        add_pair(parse_preference(record, place, work.ignored_keys), work);
      else
        add_replies(parse_dialogue(record, place, work.ignored_keys), work);
    } catch (const Error&) {
      work.error = std::current_exception();  // the first in the corpus is told, not in time
      work.malformed = true;
    } catch (...) {
      work.error = std::current_exception();
    }
  }

  void write(const Work& work) {
    if (work.malformed) return malformed_.add(work.error);
    if (work.error) std::rethrow_exception(work.error);
    const bool to_validation = held_out(options_, result_.dialogues++);
    DocumentWriter& file = files_->of(to_validation);
    PreparedPart& part = to_validation ? result_.validation : result_.train;
    for (const Example& example : work.examples) {
      file.append(example.prompt, false);
      file.append(example.reply, true);
      file.end_document();
      part.bytes += example.bytes;
      result_.response_tokens += std::int64_t(example.reply.size());
      result_.longest =
          std::max(result_.longest, std::int64_t(example.prompt.size() + example.reply.size()));
    }
    for (std::size_t why = 0; why < kChatSkips; ++why) {
      if (work.skipped[why] > 0 && result_.skipped[why] == 0)
        result_.first_skipped[why] = reader_.place(work.piece) + ": " + work.reason[why];
      result_.skipped[why] += work.skipped[why];
    }
    // Names that differ from record to record must not fill the memory.
    for (const std::string& key : work.ignored_keys)
      if (result_.ignored_keys.size() < kMostKeys) result_.ignored_keys.insert(key);
  }

  std::string skips() const {
    std::string text;
    for (const std::string& first : result_.first_skipped)
      if (!first.empty()) text += (text.empty() ? " (" : "; ") + first;
    return text.empty() ? "" : text + ")";
  }

  void finish() {
    if (DocumentWriter* validation = files_->validation())
      CHECK(validation->documents() > 0, options_.validation, ": would be empty: no example of ",
            counted(result_.dialogues, "dialogue"), " was drawn at a fraction of ",
            options_.validation_fraction, "; choose another --validation-fraction or --seed");
    CHECK(files_->train().documents() > 0, options_.output,
          ": would be empty: ", counted(result_.dialogues, "dialogue"), " gave no example",
          skips());
    files_->commit(result_.train, result_.validation);
    malformed_.warn();
  }

  const PrepareOptions& options_;
  const ChatRecords records_;
  Tokenizer tokenizer_;
  ChatFormat format_;
  CorpusReader reader_;
  MalformedRecords malformed_;
  ThreadPool pool_;
  std::optional<PreparedFiles> files_;
  PrepareChatResult result_;
};

}  // namespace

PrepareChatResult prepare_chat(const PrepareOptions& options, const ChatTemplate& chat,
                               ChatRecords records) {
  check_prepare_options(options);
  return ChatPreparation(options, chat, records).run();
}

}  // namespace lacuna
