#include "training/flops.h"

namespace lacuna {

double training_flops(const ModelConfig& m, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted) {
  const auto C = double(m.width), F = double(m.ffn_width), V = double(m.vocab_size);
  const double N = double(sequences) * double(length), M = double(predicted);
  const double full_blocks = double(m.layers - 1);
  const double key_value = 2 * C * double(m.key_heads() * m.head_dim());
  const double rest = 2 * C * C + 3 * C * F;
  const double keys = m.attention == Attention::causal ? (double(length) + 1) / 2 : double(length);
  const double weights =
      N * full_blocks * (rest + key_value) + N * key_value + M * rest + M * V * C;
  return 6 * weights + 12 * C * (N * full_blocks + M) * keys;
}

}  // namespace lacuna
