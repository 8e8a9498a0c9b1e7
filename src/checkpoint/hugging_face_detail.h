#pragma once
// For hugging_face_*.cpp alone: where a checkpoint keeps the files of an imported folder.
#include <filesystem>
#include <set>
#include <string>
#include <string_view>

namespace lacuna {

inline constexpr const char* kConfigAttribute = "hf_config";    // config.json
inline constexpr std::string_view kFileAttribute = "hf_file:";  // any other small file, by name

/// Files that make a Hugging Face folder complete beside weights, config.json and tokenizer.json.
inline bool is_companion(const std::string& file) {
  static const std::set<std::string> known = {"config.json", "tokenizer.json",
                                              "model.safetensors.index.json"};
  const std::string extension = std::filesystem::path(file).extension().string();
  return !known.count(file) && (extension == ".json" || extension == ".jinja" ||
                                extension == ".py" || extension == ".txt");
}

}  // namespace lacuna
