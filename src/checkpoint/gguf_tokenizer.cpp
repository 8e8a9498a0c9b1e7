#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "checkpoint/gguf_export.h"
#include "checkpoint/gguf_import.h"
#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

// llama.cpp's types of tokens.
enum TokenType : std::int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

// What llama.cpp calls the split patterns it knows (src/llama-vocab.cpp), of those in use here.
struct KnownSplit {
  const char* pattern;  // without possessive marks, which change no match here
  const char* name;
};
constexpr KnownSplit kSplits[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "llama-bpe"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2"},
    {R"('(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     "bailingmoe"},
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "gpt-2"},
};

/// A pattern without possessive marks: a `+` after a quantifier.
std::string without_possessives(const std::string& pattern) {
  std::string plain;
  for (const char c : pattern)
    if (c != '+' || plain.empty() || std::string("?+*").find(plain.back()) == std::string::npos)
      plain += c;
  return plain;
}

/// llama.cpp's name of the split, or "".
std::string split_name(const Json& json) {
  const auto pre = json.find("pre_tokenizer");
  if (pre == json.end() || !pre->is_object()) return "";
  std::vector<Json> steps;
  if (pre->value("type", "") == "Sequence")
    for (const Json& step : pre->value("pretokenizers", Json::array())) steps.push_back(step);
  else
    steps.push_back(*pre);
  std::vector<std::string> patterns;
  for (const Json& step : steps) {
    const std::string type = step.value("type", "");
    if (type == "ByteLevel") {
      if (step.value("use_regex", true)) patterns.emplace_back(kSplits[3].pattern);
    } else if (type == "Split" && step.contains("pattern") && step["pattern"].contains("Regex")) {
      patterns.push_back(step["pattern"]["Regex"].get<std::string>());
    } else {
      return "";
    }
  }
  if (patterns.size() != 1) return "";
  const std::string plain = without_possessives(patterns[0]);
  for (const KnownSplit& known : kSplits)
    if (plain == known.pattern) return known.name;
  return "";
}

std::vector<std::string> merges_of(const Json& model, const std::string& name) {
  std::vector<std::string> merges;
  for (const Json& merge : model.value("merges", Json::array())) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
      continue;
    }
    CHECK(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(),
          name, ": merge ", shown(merge.dump()), " is not of two tokens");
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return merges;
}

/// Whether words are bytes by the time the model sees them.
bool is_byte_level_bpe(const Json& json) {
  const auto model = json.find("model"), pre = json.find("pre_tokenizer");
  if (model == json.end() || pre == json.end() || !model->is_object() || !pre->is_object())
    return false;
  if (model->value("type", "BPE") != "BPE") return false;
  const Json steps =
      pre->value("type", "") == "Sequence" ? pre->at("pretokenizers") : Json::array({*pre});
  return std::any_of(steps.begin(), steps.end(),
                     [](const Json& step) { return step.value("type", "") == "ByteLevel"; });
}

void add_vocabulary(GgufKeys& keys, const Json& json, std::int64_t rows, const std::string& name) {
  CHECK(json.contains("model") && json["model"].is_object() && json["model"].contains("vocab") &&
            json["model"]["vocab"].is_object(),
        name, ": has no model.vocab");
  std::vector<std::string> tokens(static_cast<std::size_t>(rows));
  std::vector<std::int32_t> types(std::size_t(rows), kUnused);
  for (std::int64_t id = 0; id < rows; ++id) tokens[std::size_t(id)] = str("[PAD", id, "]");
  const auto set = [&](const Json& id, const std::string& text, TokenType type) {
    CHECK(id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < rows,
          name, ": token '", shown(text), "' has id ", shown(id.dump()), "; the model has ", rows,
          " rows");
    tokens[id.get<std::size_t>()] = text;
    types[id.get<std::size_t>()] = type;
  };
  for (const auto& [text, id] : json["model"]["vocab"].items()) set(id, text, kNormal);
  std::map<std::string, Json> added;  // what is given twice keeps its id, and stays special
  for (const Json& token : json.value("added_tokens", Json::array())) {
    const auto text = token.at("content").get<std::string>();
    if (text.empty()) continue;
    const auto [first, is_new] = added.emplace(text, token);
    const bool special = token.value("special", false) || first->second.value("special", false);
    first->second["special"] = special;
    set(first->second.at("id"), text, special ? kControl : kUserDefined);
  }

  std::string split = split_name(json);
  if (split.empty()) {
    // LLaDA's own tokenizer is known by its size and mask token, whatever its file looks like.
    const bool llada = rows == 126464 && tokens[126336] == "<|mdm_mask|>";
    split = llada ? "bailingmoe" : "gpt-2";
    if (!llada)
      log_warning(name +
                  ": its pre_tokenizer is none that llama.cpp knows; written as \"gpt-2\", "
                  "with which llama.cpp may give other ids");
  }
  keys.add("tokenizer.ggml.model", "gpt2");
  keys.add("tokenizer.ggml.pre", split);
  keys.add("tokenizer.ggml.tokens", tokens);
  keys.add("tokenizer.ggml.token_type", types);
  keys.add("tokenizer.ggml.merges", merges_of(json["model"], name));
}

/// The pre_tokenizer of tokenizer.json that a split's name stands for; null for an unknown name.
Json pre_tokenizer_of(const std::string& name) {
  const auto byte_level = [](bool splits) {
    return Json{{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", splits}};
  };
  if (name == "gpt-2") return byte_level(true);
  for (const KnownSplit& known : kSplits)
    if (name == known.name)
      return {{"type", "Sequence"},
              {"pretokenizers",
               {{{"type", "Split"},
                 {"pattern", {{"Regex", known.pattern}}},
                 {"behavior", "Isolated"},
                 {"invert", false}},
                byte_level(false)}}};
  return nullptr;
}

}  // namespace

std::string tokenizer_from_gguf(const GgufFile& file) {
  const std::string kind = file.text("tokenizer.ggml.model"),
                    split = file.text("tokenizer.ggml.pre");
  if (kind.empty() || kind == "no_vocab" || kind == "none") return "";
  constexpr const char* kIdsAlone = "; the model will only take and give token ids";
  if (kind != "gpt2") {
    log_warning(str(file.name(), ": tokenizer.ggml.model = '", printable(kind),
                    "' is not supported, \"gpt2\" (byte-level BPE) alone is", kIdsAlone));
    return "";
  }
  const Json pre = pre_tokenizer_of(split);
  if (pre.is_null()) {
    log_warning(str(file.name(), ": tokenizer.ggml.pre = '", printable(split),
                    "' is a split that is not known here", kIdsAlone));
    return "";
  }
  const std::vector<std::string> tokens = file.strings("tokenizer.ggml.tokens");
  std::vector<std::string> merges = file.strings("tokenizer.ggml.merges");
  const std::vector<std::int64_t> types = file.integers("tokenizer.ggml.token_type");
  CHECK(types.size() == tokens.size(), file.name(), ": tokenizer.ggml.token_type has ",
        types.size(), " elements; there are ", tokens.size(), " tokens");
  Json added = Json::array(), vocab = Json::object();
  auto& entries = vocab.get_ref<Json::object_t&>();  // emplace() would compare with all of them
  std::unordered_set<std::string_view> listed;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == kUnused) continue;
    if (types[id] == kControl || types[id] == kUserDefined) {
      added.push_back({{"id", id},
                       {"content", tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", types[id] == kControl}});
    } else {
      CHECK(listed.insert(tokens[id]).second, file.name(), ": token '", shown(tokens[id]),
            "' is listed twice");
      entries.emplace_back(tokens[id], id);
    }
  }
  const bool composes = split == "qwen2";  // llama.cpp does without
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", false},
                           {"use_regex", false}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", composes ? Json{{"type", "NFC"}} : Json(nullptr)},
                     {"pre_tokenizer", pre},
                     {"post_processor", nullptr},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", ""},
                       {"end_of_word_suffix", ""},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", split == "llama-bpe"},
                       {"vocab", std::move(vocab)},
                       {"merges", std::move(merges)}}}};
  try {
    return json.dump(2);
  } catch (const Json::exception& e) {
    fail(str(file.name(), ": its tokenizer is no text: ", shown(e.what())));
  }
}

bool add_gguf_tokenizer(GgufKeys& keys, const std::string& tokenizer_json, std::int64_t rows,
                        const std::string& name) {
  const auto json = parse_json_object<Json>(tokenizer_json, name);
  try {
    if (is_byte_level_bpe(json)) {
      add_vocabulary(keys, json, rows, name);
      return true;
    }
  } catch (const Json::exception& e) {  // a key that is missing or of another type
    fail(str(name, ": cannot be written as GGUF: ", shown(e.what())));
  }
  log_warning(name +
              ": is not byte-level BPE, the only kind that is written; the file will take "
              "and give token ids alone");
  return false;
}

}  // namespace lacuna
