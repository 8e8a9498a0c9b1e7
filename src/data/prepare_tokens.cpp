#include "data/prepare_tokens.h"

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "data/megatron_tokens.h"
#include "data/prepare_detail.h"

namespace lacuna {

PrepareResult prepare_tokens(const PrepareOptions& options) {
  // Of a long document.
  constexpr std::int64_t kPieceTokens = std::int64_t{1} << 20;
  const Tokenizer tokenizer = tokenizer_of(options);
  const TokenFileInfo info = token_file_info(tokenizer, options, "every document");
  const auto eos = std::int32_t(info.eos_token);
  PreparedFiles files(options, info);
  PrepareResult result;
  std::int64_t document = 0;
  std::vector<std::int32_t> tokens;
  for (const std::string& input : options.inputs) {
    CHECK(megatron_index(input), input, ": is not a Megatron dataset, whose .idx, .bin or common ",
          "prefix is to be named");
    const TokenFile file(input, info.vocab_size);
    for (std::int64_t i = 0; i < file.documents(); ++i) {
      const std::int64_t end = file.offset(i + 1);
      std::int64_t at = file.offset(i);
      if (at == end) {
        ++result.empty_documents;
        continue;
      }
      DocumentWriter& to = files.of(held_out(options, document++));
      while (at < end) {
        tokens.resize(std::size_t(std::min(kPieceTokens, end - at)));
        file.read(at, tokens);
        to.append(tokens);
        at += std::int64_t(tokens.size());
      }
      if (tokens.back() != eos) to.append({&eos, 1});
      to.end_document();
    }
  }
  files.check_not_empty(options, document);
  files.commit(result.train, result.validation);
  return result;
}

}  // namespace lacuna
