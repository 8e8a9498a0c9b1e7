#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// The token files that `lacuna prepare --output-dir` made of as many input files, as one source.
/// JSON: {"format": "lacuna-token-manifest", "version": 1, "tokenizer_sha256": …, "shards": […]}.
struct TokenManifest {
  struct Shard {
    std::string file;   // in the manifest's folder; "" where the input gave no document
    std::string input;  // what it was made of
    std::int64_t documents = 0, tokens = 0;
    bool operator==(const Shard&) const = default;
  };
  std::string tokenizer_sha256;
  std::vector<Shard> shards;

  std::int64_t tokens() const;
  std::int64_t documents() const;
  bool operator==(const TokenManifest&) const = default;
};

inline constexpr const char* kManifestName = "manifest.json";

/// Error, beginning with `name`, for a text that is no such manifest, names a file in another
/// folder or twice, or has no token.
TokenManifest parse_manifest(std::string_view text, const std::string& name);
std::string manifest_text(const TokenManifest& manifest);

/// The manifest that `path` names: itself, or that of a folder. "" where it names a file that ends
/// otherwise; Error for a folder without one.
std::filesystem::path manifest_of(const std::filesystem::path& path);

}  // namespace lacuna
