#pragma once
#include <cstdint>
#include <string>

namespace lacuna {

struct MaskTokenResult {
  std::int64_t id = -1;
  bool is_new = false;     // whether the model had none
  std::int64_t rows = 0;   // of the embedding and the head
  bool has_grown = false;  // by a row
};

/// Makes a checkpoint, at step 0, of any model, whose tokenizer has a mask token: where there is
/// none, <|mdm_mask|> gets the id behind the tokenizer's last. Its row of the embedding and of the
/// head, one of those without a token if there are such and else a new one, becomes the mean of the
/// rows of all tokens. Other tensors keep their bits, but for those of blocks, which become f32.
/// UsageError for a model without a tokenizer.
MaskTokenResult import_with_mask_token(const std::string& model, const std::string& checkpoint);

}  // namespace lacuna
