#pragma once
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/check.h"
#include "data/token_file.h"
#include "tests/support/support.h"

namespace lacuna::testing {

/// A byte-level BPE tokenizer.json: 256 bytes, the merge "t h", then the given special tokens.
inline std::string byte_tokenizer(const std::vector<std::string>& specials = {
                                      "<|mdm_mask|>", "<|endoftext|>", "<|pad|>"}) {
  nlohmann::json vocab, added = nlohmann::json::array();
  // The printable stand-ins of GPT-2: bytes that print stand for themselves, others come from 256.
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const int c = prints ? byte : next++;
    std::string utf8;
    if (c < 0x80) {
      utf8 = char(c);
    } else {
      utf8 = {char(0xc0 | c >> 6), char(0x80 | (c & 0x3f))};
    }
    vocab[utf8] = byte;
  }
  vocab["th"] = 256;
  int id = 257;
  for (const std::string& content : specials)
    added.push_back({{"id", id++},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", true}};
  const nlohmann::json all = {{"version", "1.0"},
                              {"truncation", nullptr},
                              {"padding", nullptr},
                              {"added_tokens", added},
                              {"normalizer", nullptr},
                              {"pre_tokenizer", byte_level},
                              {"post_processor", nullptr},
                              {"decoder", byte_level},
                              {"model",
                               {{"type", "BPE"},
                                {"dropout", nullptr},
                                {"unk_token", nullptr},
                                {"continuing_subword_prefix", nullptr},
                                {"end_of_word_suffix", nullptr},
                                {"fuse_unk", false},
                                {"byte_fallback", false},
                                {"vocab", vocab},
                                {"merges", {"t h"}}}}};
  return all.dump();
}

/// A token file of documents of the given lengths, whose tokens count 0, 1, 2 … modulo `vocab`.
inline void write_counting(const std::string& path, const std::vector<std::int64_t>& lengths,
                           std::int64_t vocab = 1000) {
  TokenFileWriter writer(path, {vocab, vocab - 1, vocab - 2, "{}"});
  std::int64_t position = 0;
  for (const std::int64_t length : lengths) {
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < length; ++i) tokens.push_back(std::int32_t(position++ % vocab));
    writer.append(tokens);
    writer.end_document();
  }
  writer.finish();
  writer.commit();
}

/// While it lives no file may grow beyond `bytes`: to the program, a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limited = before_;
    limited.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace lacuna::testing
