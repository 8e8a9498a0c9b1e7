#include "training/metrics.h"

#include <fstream>
#include <string>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/json.h"

namespace lacuna {
namespace {

/// The object on a line; null where there is none, as on a line that was cut short.
nlohmann::json object_of(const std::string& line) {
  try {
    return parse_json_object<nlohmann::json>(line, "metrics");
  } catch (const Error&) {
    return nullptr;
  }
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::int64_t resumed_step) {
  std::string kept;
  if (resumed_step > 0 && std::filesystem::exists(path)) {
    const InputFile regular(path);  // or an Error
    std::ifstream lines(path);
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json json = object_of(line);
      if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
          json["step"].get<std::int64_t>() > resumed_step)
        continue;
      if (json.contains("validation_bound"))
        last_validation_ = json["step"].get<std::int64_t>();
      else if (json.contains("elapsed") && json["elapsed"].is_number())
        elapsed_ = json["elapsed"].get<double>();
      kept += line + "\n";
    }
  }
  write_file(path, kept);
  file_ = std::make_unique<AppendFile>(path);
}

void MetricsLog::write(const StepMetrics& m) {
  nlohmann::ordered_json line = {{"step", m.step},
                                 {"loss", m.loss},
                                 {"grad_norm", m.grad_norm},
                                 {"learning_rate", m.learning_rate},
                                 {"tokens", m.tokens},
                                 {"tokens_per_second", m.tokens_per_second},
                                 {"mfu", m.mfu},
                                 {"elapsed", m.elapsed},
                                 {"samples", m.samples},
                                 {"bad_steps", m.bad_steps},
                                 {"data_seconds", m.data_seconds},
                                 {"communication_seconds", m.communication_seconds},
                                 {"checkpoint_seconds", m.checkpoint_seconds}};
  for (const Figure& f : m.figures) line[f.name] = f.value;
  file_->append(line.dump() + "\n");
  elapsed_ = m.elapsed;
}

void MetricsLog::write(const ValidationMetrics& m) {
  nlohmann::ordered_json line = {{"step", m.step}, {"validation_bound", m.validation_bound}};
  if (m.bits_per_byte) line["bits_per_byte"] = *m.bits_per_byte;
  line["validation_error"] = m.validation_error;
  if (!m.validation_loss_by_mask_probability.empty())
    line["validation_loss_by_mask_probability"] = m.validation_loss_by_mask_probability;
  for (const Figure& f : m.figures) line["validation_" + f.name] = f.value;
  file_->append(line.dump() + "\n");
  last_validation_ = m.step;
}

}  // namespace lacuna
