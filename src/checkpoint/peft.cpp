#include "checkpoint/peft.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/check.h"
#include "core/half.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/text.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using PeftJson = nlohmann::ordered_json;

bool is_empty(const PeftJson& value) {
  return value.is_null() || value == false ||
         ((value.is_array() || value.is_object() || value.is_string()) && value.empty());
}

double number_of(const PeftJson& config, const char* key, double otherwise,
                 const std::string& file) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return otherwise;
  CHECK(found->is_number(), file, ": ", key, " is ", found->dump(), "; it must be a number");
  return found->get<double>();
}

}  // namespace

bool is_peft_folder(const fs::path& folder) {
  std::error_code error;
  return fs::is_regular_file(folder / kPeftConfig, error);
}

PeftReader::PeftReader(const fs::path& folder, const ModelConfig& model)
    : path_(folder.string()), file_(folder / kPeftWeights) {
  read_config();
  find_tensors(model);
}

void PeftReader::read_config() {
  const std::string file = (fs::path(path_) / kPeftConfig).string();
  const auto config = parse_json_object<PeftJson>(read_named_file(file), file);
  CHECK(config.value("peft_type", PeftJson()) == "LORA", file, ": peft_type is ",
        config.value("peft_type", PeftJson()).dump(), "; only \"LORA\" is supported");
  // What changes the function, or other tensors than the matrices'.
  for (const char* key : {"use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern",
                          "alpha_pattern", "lora_bias", "trainable_token_indices",
                          "target_parameters", "megatron_config", "layer_replication"})
    if (const auto found = config.find(key); found != config.end())
      CHECK(is_empty(*found), file, ": ", key, " = ", found->dump(), " is not supported");
  if (const auto bias = config.find("bias"); bias != config.end())
    CHECK(*bias == "none", file, ": bias = ", bias->dump(), " is not supported; only \"none\" is");
  const double rank = number_of(config, "r", 0, file);
  CHECK(rank >= 1 && rank == std::floor(rank) && rank <= 1 << 20, file, ": r is ", rank,
        "; it must be a whole number above 0");
  lora_.rank = std::int64_t(rank);
  const double alpha = number_of(config, "lora_alpha", 8, file);
  CHECK(alpha > 0 && std::isfinite(alpha), file, ": lora_alpha is ", alpha, "; it must be above 0");
  // Rank-stabilised: alpha / sqrt(r) (arXiv:2312.03732).
  lora_.alpha = config.value("use_rslora", PeftJson()) == true ? alpha * std::sqrt(rank) : alpha;
}

void PeftReader::find_tensors(const ModelConfig& model) {
  std::set<std::string> left;
  for (const std::string& name : file_.names()) left.insert(name);
  lora_.targets.clear();
  for (const AdapterSpec& adapter : adapter_table()) {
    if (!adapter.target->is_in(model)) continue;
    std::int64_t found = 0;
    for (int l = 0; l < model.num_layers; ++l)
      for (const WeightSpec* factor : {&adapter.a, &adapter.b})
        for (const NameScheme scheme : {NameScheme::llada, NameScheme::llama}) {
          const std::string stored = kPeftPrefix + factor->name(scheme, l);
          if (left.erase(stored) == 0) continue;
          stored_names_[factor->name(NameScheme::llada, l)] = stored;
          ++found;
        }
    if (found == 0) continue;
    CHECK(found == 2 * model.num_layers, file_.path(), ": has ", counted(found, "tensor"), " for ",
          adapter.target->llada, " of ", counted(model.num_layers, "block"),
          "; adapters of some blocks are not supported");
    lora_.targets.emplace_back(adapter.target->llada);
  }
  CHECK(left.empty(), file_.path(), ": ", *left.begin(), " adapts no matrix of the model's blocks");
  CHECK(!lora_.targets.empty(), file_.path(), ": holds no adapters");
  for (const ModelWeight& w : adapter_weights(model, lora_)) {
    const std::string& stored = stored_names_.at(w.name);
    const DType dtype = file_.dtype(stored);
    CHECK(file_.shape(stored) == w.shape, file_.path(), ": ", stored, " is ", file_.shape(stored),
          "; the model and r = ", lora_.rank, " make it ", w.shape);
    CHECK(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, file_.path(), ": ",
          stored, " is ", dtype, "; it must be f32, bf16 or f16");
  }
}

std::vector<std::string> PeftReader::names(const std::string& group) const {
  std::vector<std::string> all;
  if (group == "model")
    for (const auto& [name, stored] : stored_names_) all.push_back(name);
  return all;
}

bool PeftReader::has(const std::string& group, const std::string& name) const {
  return group == "model" && stored_names_.count(name) > 0;
}

Tensor PeftReader::view(const std::string& group, const std::string& name) const {
  CHECK(has(group, name), path_, ": has no tensor ", name, " in group ", group);
  return file_.view(stored_names_.at(name));
}

Shape PeftReader::shape(const std::string& group, const std::string& name) const {
  return view(group, name).shape;
}

DType PeftReader::dtype(const std::string& group, const std::string& name) const {
  return view(group, name).dtype;
}

void PeftReader::read_box(const std::string& group, const std::string& name, std::int64_t row,
                          std::int64_t col, const Tensor& out) const {
  const Tensor stored = view(group, name);
  check_box(name, stored.shape, row, col, out);
  CHECK(out.dtype == stored.dtype || out.dtype == DType::f32, path_, ": ", name, " is ",
        stored.dtype, ", which cannot be read as ", out.dtype);
  const std::int64_t size = size_of(stored.dtype);
  for (std::int64_t r = 0; r < out.rows(); ++r) {
    const char* from =
        static_cast<const char*>(stored.data) + ((row + r) * stored.cols() + col) * size;
    char* to = static_cast<char*>(out.data) + r * out.cols() * size_of(out.dtype);
    if (out.dtype == stored.dtype)
      std::copy_n(from, out.cols() * size, to);
    else
      to_floats(Tensor(const_cast<char*>(from), {out.cols()}, stored.dtype),
                reinterpret_cast<float*>(to));
  }
}

}  // namespace lacuna
