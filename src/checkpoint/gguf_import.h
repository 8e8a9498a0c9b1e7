#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "checkpoint/model_reader.h"
#include "config/config.h"
#include "formats/gguf_file.h"

namespace lacuna {

/// Whether a file begins as GGUF does.
bool is_gguf_file(const std::filesystem::path& path);

/// The model that a file's keys describe, with the rows of its embedding. Error, naming file, key
/// and value, for an unknown architecture, for what this program's model cannot be (scaled
/// positions, sliding windows, heads of two widths) and for a missing key.
ModelConfig model_config_from_gguf(const GgufFile& file);

/// tokenizer.json of a file's tokenizer, which must be byte-level BPE with a split that is known
/// here; "" with a warning for any other, and for a file without one.
std::string tokenizer_from_gguf(const GgufFile& file);

/// Opens a model where it lies (checkpoint/gguf_reader.h). What the file says of special tokens and
/// dialogues is kept as a Hugging Face folder's tokenizer_config.json.
std::unique_ptr<const ModelReader> open_gguf(const std::filesystem::path& path);

/// Makes a checkpoint of it, at step 0; elements of blocks become f32.
void import_gguf(const std::filesystem::path& file, const std::filesystem::path& checkpoint);

}  // namespace lacuna
