#include "evaluation/gap_canvas.h"

#include <string_view>

#include "core/check.h"
#include "evaluation/encode_text.h"

namespace lacuna {
namespace {

/// The texts between gaps, one more than there are gaps.
std::vector<TaskText> texts_between_gaps(const TaskText& text) {
  constexpr std::size_t length = std::string_view(kGap).size();
  std::vector<TaskText> texts(1);
  for (const TaskText::Part& part : text.parts()) {
    std::size_t at = 0;
    for (std::size_t gap; (gap = part.text.find(kGap, at)) != std::string::npos;
         at = gap + length) {
      texts.back().append({part.text.substr(at, gap - at), part.from_record});
      texts.emplace_back();
    }
    texts.back().append({part.text.substr(at), part.from_record});
  }
  return texts;
}

}  // namespace

GapCanvas gap_canvas(const Tokenizer& tokenizer, const TaskText& text,
                     const std::vector<std::size_t>& lengths, std::int32_t mask_token,
                     const std::string& place) {
  const std::vector<TaskText> texts = texts_between_gaps(text);
  CHECK(texts.size() > 1 && texts.size() - 1 == lengths.size(), place, ": ", texts.size() - 1,
        " gaps and ", lengths.size(), " answers");
  GapCanvas canvas;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) {
      canvas.gaps.push_back({canvas.tokens.size(), lengths[i - 1]});
      canvas.tokens.insert(canvas.tokens.end(), lengths[i - 1], mask_token);
    }
    const std::vector<std::int32_t> ids = encode_text(tokenizer, texts[i]);
    canvas.tokens.insert(canvas.tokens.end(), ids.begin(), ids.end());
  }
  return canvas;
}

}  // namespace lacuna
