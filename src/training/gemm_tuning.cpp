#include "training/gemm_tuning.h"

#include <utility>
#include <vector>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/log.h"

namespace lacuna {

GemmTuning::GemmTuning(Ops& ops, Communicator& world, std::filesystem::path file)
    : ops_(ops), world_(world), file_(std::move(file)) {
  if (ops_.gemm_algorithms().empty()) return;
  const auto warn = [&](const std::string& why) {
    if (world_.rank() == 0) log_warning(why + "; algorithms are timed again");
  };
  try {
    std::error_code error;
    if (world_.rank() == 0 && std::filesystem::exists(file_, error)) in_file_ = read_file(file_);
  } catch (const Error& e) {
    warn(e.what());
  }
  const std::string text = shared_text(world_, in_file_);
  try {
    if (!text.empty()) ops_.use_gemm_algorithms(text);
  } catch (const Error& e) {
    warn(str(file_.string(), ": ", e.what()));
  }
}

void GemmTuning::save() {
  if (ops_.gemm_algorithms().empty()) return;
  const std::vector<std::string> texts = gathered_texts(world_, ops_.gemm_algorithms());
  for (std::size_t r = texts.size(); r-- > 0;) {
    try {
      ops_.use_gemm_algorithms(texts[r]);
    } catch (const Error&) {  // rank r has another kind of GPU
    }
  }
  const std::string text = ops_.gemm_algorithms();
  if (world_.rank() == 0 && text != in_file_) write_file(file_, text);
}

}  // namespace lacuna
