#include "training/resume.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <sstream>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/json.h"

namespace lacuna {
namespace {

/// "section.key" to the value as TOML.
std::map<std::string, std::string> values_of(const Config& config) {
  std::map<std::string, std::string> values;
  std::istringstream lines(to_toml(config));
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find(" = ");
    if (line.starts_with("["))
      section = line.substr(1, line.find(']') - 1);
    else if (equals != std::string::npos)
      values[section + "." + line.substr(0, equals)] = line.substr(equals + 3);
  }
  return values;
}

void fill_in(std::int64_t& id, std::int64_t from_data, const char* key, const TokenFile& data) {
  if (id == -1) id = from_data;
  if (from_data != -1 && id != from_data)
    fail_usage(str("model.", key, " = ", id, ", but ", data.path(), " was made with ", from_data,
                   "; leave the key out"));
}

bool is_one_of(std::string_view key, std::span<const std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// A change of these gives tensors of other shapes, or weights that mean something else.
constexpr std::array<std::string_view, 10> kShape = {
    "model.vocab_size",        "model.num_layers",    "model.hidden_size", "model.num_heads",
    "model.num_kv_heads",      "model.head_dim",      "model.qkv_bias",    "model.qk_norm",
    "model.intermediate_size", "model.tie_embeddings"};
constexpr std::array<std::string_view, 5> kMeaning = {"model.attention", "model.causal_context",
                                                      "model.logits_shift", "model.mask_token",
                                                      "train.objective"};
// And of this, moments that mean something else.
constexpr std::string_view kStates = "optimizer.name";
// What adapters are of, and what they are multiplied by.
constexpr std::array<std::string_view, 3> kAdapters = {"lora.rank", "lora.targets", "lora.alpha"};
// These say where things are and how they are computed, not what.
constexpr std::array<std::string_view, 4> kPlaces = {"train.output", "train.init",
                                                     "compute.threads", "parallel.timeout"};

[[noreturn]] void refuse(const std::string& key, const std::string& now, const std::string& before,
                         const std::string& what) {
  fail_usage(str(key, " = ", now, ", but ", what, " holds a model of ", key, " = ", before,
                 "; set it to that, or begin a new run in another train.output"));
}

Config with_kv_heads(Config config) {
  config.model.num_kv_heads = config.model.kv_heads();
  return config;
}

}  // namespace

Config resolve_model(Config config, const TokenFile& data, std::int64_t pad_token) {
  ModelConfig& m = config.model;
  m.num_kv_heads = m.kv_heads();
  if (m.vocab_size == 0) m.vocab_size = data.vocab_size();
  if (m.vocab_size < data.vocab_size())
    fail_usage(str("model.vocab_size = ", m.vocab_size, ", but ", data.path(), " holds ids up to ",
                   data.vocab_size() - 1, "; set it to ", data.vocab_size(),
                   " or more, or leave it out"));
  fill_in(m.mask_token, data.mask_token(), "mask_token", data);
  fill_in(m.eos_token, data.eos_token(), "eos_token", data);
  if (m.pad_token == -1) m.pad_token = pad_token != -1 ? pad_token : m.eos_token;
  if (config.train.objective != Objective::autoregressive && m.mask_token == -1)
    fail_usage(str(
        "train.objective = ", word_of(config.train.objective),
        " needs a mask token, which the tokenizer of ", data.path(),
        " lacks; make one with 'lacuna tokenizer train', add one to a model with 'lacuna import "
        "--add-mask-token', or set model.mask_token to an id that the text does not "
        "use"));
  const std::pair<const char*, std::int64_t> ids[] = {
      {"mask_token", m.mask_token}, {"eos_token", m.eos_token}, {"pad_token", m.pad_token}};
  for (const auto& [key, id] : ids)
    if (id < -1 || id >= m.vocab_size)
      fail_usage(str("model.", key, " = ", id, " lies outside the vocabulary of ", m.vocab_size));
  return config;
}

bool all_begin_with(std::int32_t token, const TokenFile& data) {
  constexpr std::int64_t enough = 1000;
  for (std::int64_t i = 0; i < std::min(data.documents(), enough); ++i) {
    std::int32_t first = -1;
    if (data.offset(i) == data.offset(i + 1)) return false;
    data.read(data.offset(i), std::span(&first, 1));
    if (first != token) return false;
  }
  return data.documents() > 0;
}

std::vector<std::string> differences(const Config& before, const Config& now) {
  const auto old_values = values_of(before);
  std::vector<std::string> changed;
  for (const auto& [key, value] : values_of(now))
    if (old_values.at(key) != value && !is_one_of(key, kPlaces))
      changed.push_back(str(key, ": ", old_values.at(key), " -> ", value));
  return changed;
}

std::vector<std::string> changes_on_resume(const Config& before, const Config& now,
                                           const std::string& what) {
  const auto old_values = values_of(with_kv_heads(before));
  const bool adapters = before.lora.rank > 0 || now.lora.rank > 0;
  for (const auto& [key, value] : values_of(with_kv_heads(now)))
    if (old_values.at(key) != value && (is_one_of(key, kShape) || is_one_of(key, kMeaning) ||
                                        (adapters && is_one_of(key, kAdapters))))
      refuse(key, value, old_values.at(key), what);
    else if (key == kStates && old_values.at(key) != value)
      fail_usage(str(key, " = ", value, ", but ", what, " holds the states of ", old_values.at(key),
                     "; set it to that, or begin a new run from it with train.init"));
  return differences(with_kv_heads(before), with_kv_heads(now));
}

void check_sources_on_resume(const Config& before, const Config& now, std::int64_t steps) {
  if (before.data.sources.empty() && now.data.sources.empty()) return;
  const bool stages = !before.data.stages.empty() || !now.data.stages.empty();
  if (stages && before.train.batch_size != now.train.batch_size)
    fail_usage(str("train.batch_size = ", now.train.batch_size, ", but the run has taken steps of ",
                   before.train.batch_size,
                   " samples, by which the stages of data.stages are counted; leave it"));
  // Sources that were not in use yet may be added behind the others.
  const auto used = [&](const Config& config) {
    std::vector<std::vector<double>> weights(1);
    for (const DataSource& source : config.data.sources) weights.front().push_back(source.weight);
    for (const DataStage& stage : config.data.stages)
      if (stage.from_step < steps) {
        weights.push_back({double(stage.from_step)});
        weights.push_back(stage.weights);
      }
    for (std::vector<double>& each : weights)
      while (!each.empty() && each.back() == 0) each.pop_back();
    return weights;
  };
  const auto paths = [](const Config& config, std::size_t most) {
    std::vector<std::string> all;
    for (const DataSource& source : config.data.sources)
      if (all.size() < most) all.push_back(source.path);
    return all;
  };
  const std::size_t common = std::min(before.data.sources.size(), now.data.sources.size());
  if (used(before) != used(now) || paths(before, common) != paths(now, common))
    fail_usage(str("data.sources or data.stages differ from those of the first ", steps,
                   " steps of this run, so that text would be repeated or left out; keep them, and "
                   "give new weights by a stage from a later step on (a new source has the weight "
                   "0 before it)"));
}

void check_same_model(const ModelConfig& before, const ModelConfig& now, const std::string& what) {
  Config a, b;
  a.model = before;
  b.model = now;
  const auto old_values = values_of(with_kv_heads(a));
  for (const auto& [key, value] : values_of(with_kv_heads(b)))
    if (is_one_of(key, kShape) && old_values.at(key) != value)
      fail_usage(str(key, " = ", value, ", but ", what, " holds a model of ", key, " = ",
                     old_values.at(key)));
}

bool same_tokenizer(const std::string& a, const std::string& b) {
  if (a == b) return true;
  try {
    return parse_json<nlohmann::json>(a, "tokenizer") == parse_json<nlohmann::json>(b, "tokenizer");
  } catch (const Error&) {  // what is not JSON is equal byte for byte or not at all
    return false;
  }
}

void check_validation_data(const Config& config, const TokenFile& validation,
                           const TokenFile& train) {
  if (validation.vocab_size() > config.model.vocab_size)
    fail_usage(str("data.validation = ", config.data.validation, " holds ids up to ",
                   validation.vocab_size() - 1, ", but model.vocab_size is ",
                   config.model.vocab_size));
  if (!validation.tokenizer_json().empty() &&
      !same_tokenizer(validation.tokenizer_json(), train.tokenizer_json()))
    fail_usage(str("data.validation = ", config.data.validation, " and ",
                   config.data.sources.empty() ? "data.train = " : "of data.sources ", train.path(),
                   " were made with different tokenizers"));
}

}  // namespace lacuna
