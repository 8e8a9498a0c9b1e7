#include "evaluation/encode_text.h"

#include <span>
#include <string>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

using Ids = std::vector<std::int32_t>;
using Special = Tokenizer::Special;

/// A special token, or (id -1) the text between two of them.
struct Run {
  std::string text;
  std::int32_t id = -1;
};

void append_text(const std::string& text, std::vector<Run>& runs) {
  if (text.empty()) return;
  if (runs.empty() || runs.back().id >= 0) runs.push_back({});
  runs.back().text += text;
}

void append(const std::vector<Run>& more, std::vector<Run>& runs) {
  for (const Run& run : more) {
    if (run.id >= 0)
      runs.push_back(run);
    else
      append_text(run.text, runs);
  }
}

void append_written(const Tokenizer& tokenizer, const std::string& text, std::vector<Run>& runs) {
  const Ids ids = tokenizer.encode(text, Special::as_token);
  std::size_t done = 0;  // ids given out
  const auto text_up_to = [&](std::size_t end) {
    append_text(tokenizer.decode(std::span(ids).subspan(done, end - done), false), runs);
  };
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!tokenizer.is_special(ids[i])) continue;
    text_up_to(i);
    runs.push_back({"", ids[i]});
    done = i + 1;
  }
  if (done == 0)
    append_text(text, runs);  // itself, not what a normalizer made of it
  else
    text_up_to(ids.size());
}

std::vector<Run> runs_of(const Tokenizer& tokenizer, const TaskText& text) {
  std::vector<Run> runs;
  for (const TaskText::Part& part : text.parts()) {
    if (part.from_record)
      append_text(part.text, runs);
    else
      append_written(tokenizer, part.text, runs);
  }
  return runs;
}

Ids ids_of(const Tokenizer& tokenizer, const std::vector<Run>& runs) {
  Ids ids;
  for (const Run& run : runs) {
    if (run.id >= 0) {
      ids.push_back(run.id);
      continue;
    }
    const Ids more = tokenizer.encode(run.text, Special::as_text);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

/// Takes the white space that ends a prompt, but for that after a special token.
std::string take_trailing_space(std::vector<Run>& prompt) {
  if (prompt.empty() || prompt.back().id >= 0) return "";
  std::string& last = prompt.back().text;
  const std::size_t kept = without_trailing_space(last).size();
  if (kept == 0 && prompt.size() > 1) return "";
  std::string space = last.substr(kept);
  last.resize(kept);
  if (kept == 0) prompt.pop_back();
  return space;
}

}  // namespace

Ids encode_text(const Tokenizer& tokenizer, const TaskText& text) {
  return ids_of(tokenizer, runs_of(tokenizer, text));
}

PromptedText encode_pair(const Tokenizer& tokenizer, const TaskText& prompt,
                         const TaskText& response) {
  CHECK(!response.string().empty(), "an empty text cannot be scored");
  std::vector<Run> before = runs_of(tokenizer, prompt), after;
  append_text(take_trailing_space(before), after);
  append(runs_of(tokenizer, response), after);
  std::vector<Run> whole = before;
  append(after, whole);
  PromptedText text;
  text.tokens = ids_of(tokenizer, whole);
  const Ids given = ids_of(tokenizer, before);
  text.prompt = std::int64_t(given.size());
  if (text.tokens.size() <= given.size()) {
    text.tokens = given;
    const Ids rest = ids_of(tokenizer, after);
    text.tokens.insert(text.tokens.end(), rest.begin(), rest.end());
  }
  return text;
}

}  // namespace lacuna
