#pragma once
#include <filesystem>

#include "formats/gguf.h"

namespace lacuna {

struct GgufExport {
  std::int64_t parameters = 0, bytes = 0;  // bytes of the file
  std::int64_t wider_tensors = 0;          // matrices whose rows are no whole blocks
};

/// Writes a checkpoint's model as llama.cpp reads it: architecture `llada`, and, of a causal model,
/// `llama`, which is the same network with a causal mask. Matrices are of `format`, norms f32. A
/// matrix whose rows are no whole blocks of it becomes q8_0, or, where they are no multiple of 32,
/// f16. Beside matrices of 4 or 5 bits the head is q6_k, as in llama.cpp's files.
/// Query and key rows are reordered within each head, since llama.cpp rotates neighbouring pairs of
/// channels where LLaDA rotates the halves. The tokenizer goes along, with the name that llama.cpp
/// has for its split pattern. One tensor is in memory at a time. `adapter` as in ExportOptions.
GgufExport export_gguf(const std::filesystem::path& checkpoint, const std::filesystem::path& file,
                       MatrixFormat format, const std::string& adapter = {});

/// Adds the keys of a tokenizer.json; its `rows` ids are those of the embedding, and ids that no
/// token has become unused ones. `name` stands for the file in messages. Warns when llama.cpp has
/// no such split pattern, so that it may cut text elsewhere. Adds nothing, warns and returns false
/// for a tokenizer that is not byte-level BPE.
bool add_gguf_tokenizer(GgufKeys& keys, const std::string& tokenizer_json, std::int64_t rows,
                        const std::string& name);

}  // namespace lacuna
