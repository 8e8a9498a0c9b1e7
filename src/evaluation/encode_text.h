#pragma once
#include <cstdint>
#include <vector>

#include "core/prompted_text.h"
#include "evaluation/task_text.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// The ids of a text: special tokens are tokens where its author wrote them. Between two of them
/// the text is tokenised at once, whoever wrote it.
std::vector<std::int32_t> encode_text(const Tokenizer& tokenizer, const TaskText& text);

/// `prompt` followed by `response` as a text to be scored, cut where lm-evaluation-harness and
/// LLaDA's eval_llada.py cut it: white space (Python's) that ends the prompt goes to the response,
/// the whole is tokenised at once, and the response is what follows as many tokens as the prompt
/// alone has. White space after a special token stays in the prompt, where a chat template has put
/// it: models are fine-tuned to be given it, never to predict it, and it joins no word of the
/// response. (Should nothing follow, because the response merged into the prompt's last token, they
/// are tokenised each on its own.) Error when the response is empty.
PromptedText encode_pair(const Tokenizer& tokenizer, const TaskText& prompt,
                         const TaskText& response);

}  // namespace lacuna
