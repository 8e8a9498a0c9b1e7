#pragma once
// For hugging_face_*.cpp and gguf_*.cpp alone: where a checkpoint keeps the files of an imported
// folder, and what its other files say.
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "config/config.h"

namespace lacuna {

inline constexpr const char* kConfigAttribute = "hf_config";    // config.json
inline constexpr std::string_view kFileAttribute = "hf_file:";  // any other small file, by name

// LLaDA's: the assistant's header follows always.
inline constexpr const char* kChatTemplate =
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 and bos_token %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}";

/// The checkpoint's model, with vocab_size filled in.
ModelConfig model_of(const CheckpointReader& reader);
/// Tokens that tokenizer.json adds to its vocabulary, by id; `file` stands for it in messages.
std::map<std::int64_t, std::string> added_tokens(const std::string& tokenizer,
                                                 const std::string& file);
/// The Jinja template of a model's dialogues: the one an import kept; LLaDA's, where the tokenizer
/// has its tokens; or "".
std::string chat_template_of(const CheckpointInfo& info, const std::string& file);

/// Files that make a Hugging Face folder complete beside weights, config.json and tokenizer.json.
inline bool is_companion(const std::string& file) {
  static const std::set<std::string> known = {"config.json", "tokenizer.json",
                                              "model.safetensors.index.json"};
  const std::string extension = std::filesystem::path(file).extension().string();
  return !known.count(file) && (extension == ".json" || extension == ".jinja" ||
                                extension == ".py" || extension == ".txt");
}

}  // namespace lacuna
