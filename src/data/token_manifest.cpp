#include "data/token_manifest.h"

#include <set>

#include "core/check.h"
#include "core/json.h"

namespace lacuna {
namespace {

using ManifestJson = nlohmann::ordered_json;

constexpr const char* kManifestFormat = "lacuna-token-manifest";
constexpr std::int64_t kManifestVersion = 1;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 56;  // of a shard

const ManifestJson& member(const ManifestJson& object, const char* key, const std::string& what) {
  CHECK(object.is_object() && object.contains(key), what, ": has no '", key, "'");
  return object[key];
}
std::string text_at(const ManifestJson& object, const char* key, const std::string& what) {
  const ManifestJson& value = member(object, key, what);
  CHECK(value.is_string(), what, ": '", key, "' is not a string");
  return value.get<std::string>();
}
std::int64_t count_at(const ManifestJson& object, const char* key, const std::string& what) {
  const ManifestJson& value = member(object, key, what);
  const bool natural =
      value.is_number_integer() && (value.is_number_unsigned() || value.get<std::int64_t>() >= 0);
  CHECK(natural && value.get<std::uint64_t>() <= std::uint64_t(kMostTokens), what, ": '", key,
        "' is not a whole number from 0 to ", kMostTokens);
  return value.get<std::int64_t>();
}

/// So that a manifest from elsewhere opens nothing beside it.
bool is_file_name(const std::string& name) {
  return name.find('/') == std::string::npos && name.find('\0') == std::string::npos &&
         name != "." && name != "..";
}

}  // namespace

std::int64_t TokenManifest::tokens() const {
  std::int64_t sum = 0;
  for (const Shard& shard : shards) sum += shard.tokens;
  return sum;
}
std::int64_t TokenManifest::documents() const {
  std::int64_t sum = 0;
  for (const Shard& shard : shards) sum += shard.documents;
  return sum;
}

TokenManifest parse_manifest(std::string_view text, const std::string& name) {
  const auto json = parse_json_object<ManifestJson>(text, name);
  CHECK(text_at(json, "format", name) == kManifestFormat, name,
        ": is not a manifest of token files (made by lacuna prepare --output-dir)");
  const std::int64_t version = count_at(json, "version", name);
  CHECK(version == kManifestVersion, name, ": is a manifest of version ", version,
        "; this program reads version ", kManifestVersion);
  TokenManifest manifest;
  manifest.tokenizer_sha256 = text_at(json, "tokenizer_sha256", name);
  const ManifestJson& shards = member(json, "shards", name);
  CHECK(shards.is_array(), name, ": 'shards' is not a list");
  std::set<std::string> files;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string what = str(name, ": shard ", i);
    TokenManifest::Shard shard{text_at(shards[i], "file", what), text_at(shards[i], "input", what),
                               count_at(shards[i], "documents", what),
                               count_at(shards[i], "tokens", what)};
    CHECK(is_file_name(shard.file), what, ": '", shard.file, "' is not a file's name");
    CHECK(shard.file.empty() == (shard.tokens == 0), what, ": has ", shard.tokens, " tokens and ",
          shard.file.empty() ? "no file" : "a file");
    CHECK(shard.file.empty() || files.insert(shard.file).second, what, ": ", shard.file,
          " is there twice");
    manifest.shards.push_back(std::move(shard));
  }
  CHECK(!files.empty(), name, ": names no file with tokens");
  return manifest;
}

std::string manifest_text(const TokenManifest& manifest) {
  ManifestJson json = {{"format", kManifestFormat},
                       {"version", kManifestVersion},
                       {"tokenizer_sha256", manifest.tokenizer_sha256},
                       {"documents", manifest.documents()},
                       {"tokens", manifest.tokens()},
                       {"shards", ManifestJson::array()}};
  for (const TokenManifest::Shard& shard : manifest.shards)
    json["shards"].push_back({{"file", shard.file},
                              {"input", shard.input},
                              {"documents", shard.documents},
                              {"tokens", shard.tokens}});
  return json_text(json, 1) + '\n';
}

std::filesystem::path manifest_of(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const std::filesystem::path manifest = path / kManifestName;
    CHECK(std::filesystem::exists(manifest, ignored), path.string(), ": is a folder without a ",
          kManifestName, ", which lacuna prepare --output-dir writes once every input is done");
    return manifest;
  }
  return path.extension() == ".json" ? path : std::filesystem::path();
}

}  // namespace lacuna
