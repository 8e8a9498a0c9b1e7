#pragma once
#include <string>

#include "core/prompted_text.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// `prompt` followed by `response` as a text to be scored, cut where lm-evaluation-harness and
/// LLaDA's eval_llada.py cut it: white space that ends the prompt goes to the response, the whole
/// is tokenised at once, and the response is what follows as many tokens as the prompt alone has.
/// White space after a special token stays in the prompt, where a chat template has put it: models
/// are fine-tuned to be given it, never to predict it, and it joins no word of the response.
/// (Should nothing follow, because the response merged into the prompt's last token, they are
/// tokenised each on its own.) Error when the response is empty.
PromptedText encode_pair(const Tokenizer& tokenizer, std::string prompt, std::string response,
                         Tokenizer::Special special = Tokenizer::Special::as_token);

}  // namespace lacuna
