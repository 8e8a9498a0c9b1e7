#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace lacuna {

/// What `lacuna inspect` found in a file or folder.
struct InspectReport {
  struct Fact {
    std::string name, value;
  };
  struct Row {
    std::string name, shape, type;
    std::int64_t elements = 0, bytes = 0;  // bytes: -1 where the type is not known
  };
  std::string path, kind;  // "a checkpoint"
  std::int64_t bytes = 0;  // on the disk
  std::vector<Fact> facts;
  std::vector<Row> tensors;
  std::vector<std::string> damaged;  // datasets whose content does not match their checksum
  std::string config, tokenizer;     // TOML and tokenizer.json, where there is one
};

/// Of a checkpoint, token file, any other HDF5 file, a safetensors or GGUF file, a run's folder
/// (its newest valid checkpoint), a Hugging Face folder or any other folder of safetensors files.
/// `verify` reads everything and compares checksums. Error, naming the file, for what is none of
/// these or cannot be read.
InspectReport inspect(const std::string& path, bool verify);

/// The facts in two columns; with `tensors` a table of them.
std::string to_text(const InspectReport& report, bool tensors);

}  // namespace lacuna
