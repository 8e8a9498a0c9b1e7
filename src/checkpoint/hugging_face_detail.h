#pragma once
// For hugging_face_*.cpp and gguf_*.cpp alone: where a checkpoint keeps the files of an imported
// folder, and what its other files say.
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"

namespace lacuna {

inline constexpr const char* kConfigAttribute = "hf_config";    // config.json
inline constexpr std::string_view kFileAttribute = "hf_file:";  // any other small file, by name

/// What a checkpoint says of a model that was trained elsewhere: the configuration and its seed.
CheckpointInfo info_of_model(const ModelConfig& model);
/// out = a weight, rounded to out.dtype from what it was before it was rounded, where there is
/// such.
void read_as(const ModelReader& reader, const std::string& name, const Tensor& out);

/// Tokens that tokenizer.json adds to its vocabulary, by id; `file` stands for it in messages.
using AddedTokens = std::map<std::int64_t, std::string>;
AddedTokens added_tokens(const std::string& tokenizer, const std::string& file);
/// The id of such a token, or -1.
std::int64_t id_of(const AddedTokens& added, std::string_view text);
/// The tokenizer_config.json that an import kept; null where there is none.
nlohmann::ordered_json tokenizer_config_of(const CheckpointInfo& info, const std::string& file);
/// The Jinja template of a model's dialogues: the one an import kept; LLaDA's, where the tokenizer
/// has its tokens; or "".
std::string chat_template_of(const CheckpointInfo& info, const AddedTokens& added,
                             const std::string& file);

/// Files that make a Hugging Face folder complete beside weights, config.json and tokenizer.json.
inline bool is_companion(const std::string& file) {
  static const std::set<std::string> known = {"config.json", "tokenizer.json",
                                              "model.safetensors.index.json"};
  const std::string extension = std::filesystem::path(file).extension().string();
  return !known.count(file) && (extension == ".json" || extension == ".jinja" ||
                                extension == ".py" || extension == ".txt");
}

}  // namespace lacuna
