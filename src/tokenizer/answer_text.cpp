#include "tokenizer/answer_text.h"

#include <algorithm>
#include <vector>

namespace lacuna {

std::string answer_text(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens,
                        std::initializer_list<std::int64_t> ends) {
  std::vector<std::int32_t> known;
  for (const std::int32_t id : tokens) {
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
    if (tokenizer.has(id)) known.push_back(id);
  }
  return tokenizer.decode(known);
}

}  // namespace lacuna
