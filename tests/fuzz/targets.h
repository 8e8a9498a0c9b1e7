#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna::fuzz {

/// A reader of files that anybody may have made. Whatever the input, it gives a result or an Error.
struct Target {
  const char* name;
  void (*read)(std::string_view input);
  /// Inputs to begin with: those of tests/fuzz/seeds/NAME and of this function.
  std::vector<std::string> (*seeds)();
};
std::span<const Target> targets();
/// Throws Error naming those there are.
const Target& target_named(const std::string& name);
/// All inputs to begin with, and those that once were handled wrongly (tests/fuzz/found/NAME).
std::vector<std::string> seeds_of(const Target& target);

/// Runs `call`; an Error is as good as a result, anything else is not caught.
template <class Call>
void tolerant(Call&& call);

/// A file in memory that holds `input`, until the next call.
std::string file_with(std::string_view input);
/// A folder, the same for the whole process, whose file `name` holds `input`.
std::string folder_with(const std::string& name, std::string_view input);

// binary_targets.cpp
void read_hdf5(std::string_view input);
void read_safetensors(std::string_view input);
void read_safetensors_index(std::string_view input);
void read_gguf(std::string_view input);
void read_parquet(std::string_view input);
void read_compressed(std::string_view input);
void read_megatron(std::string_view input);
void read_manifest(std::string_view input);
std::vector<std::string> hdf5_seeds();
std::vector<std::string> safetensors_seeds();
std::vector<std::string> index_seeds();
std::vector<std::string> gguf_seeds();
std::vector<std::string> parquet_seeds();
std::vector<std::string> compressed_seeds();
std::vector<std::string> megatron_seeds();
std::vector<std::string> manifest_seeds();

// text_targets.cpp
void read_tokenizer(std::string_view input);
void read_regex(std::string_view input);
void read_config(std::string_view input);
void read_task(std::string_view input);
void read_pattern(std::string_view input);
void read_record(std::string_view input);
void read_corpus(std::string_view input);
void read_dialogue(std::string_view input);
void read_chat_template(std::string_view input);
void read_hugging_face_config(std::string_view input);
void read_metrics(std::string_view input);
std::vector<std::string> tokenizer_seeds();
std::vector<std::string> regex_seeds();
std::vector<std::string> config_seeds();
std::vector<std::string> task_seeds();
std::vector<std::string> pattern_seeds();
std::vector<std::string> record_seeds();
std::vector<std::string> corpus_seeds();
std::vector<std::string> dialogue_seeds();
std::vector<std::string> chat_template_seeds();
std::vector<std::string> hugging_face_config_seeds();
std::vector<std::string> metrics_seeds();

// server_targets.cpp: what clients send to `lacuna serve`
void read_http_request(std::string_view input);
void read_api_request(std::string_view input);
std::vector<std::string> http_request_seeds();
std::vector<std::string> api_request_seeds();

}  // namespace lacuna::fuzz

#include "core/check.h"

template <class Call>
void lacuna::fuzz::tolerant(Call&& call) {
  try {
    call();
  } catch (const Error&) {  // one line for the user: any other exception is a fault
  }
}
