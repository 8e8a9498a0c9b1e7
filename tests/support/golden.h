#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "tests/support/paths.h"

namespace lacuna::testing {

/// Expected values computed by another framework: tests/golden/<name>.safetensors. Link with
/// lacuna_checkpoint.
///   const Golden golden("rms_norm");
///   golden["x"]  // a view, to be read only, while `golden` lives
class Golden {
 public:
  explicit Golden(const std::string& name) : file_(testing::golden_path(name + ".safetensors")) {}

  Tensor operator[](const std::string& tensor) const { return file_.view(tensor); }
  bool has(const std::string& tensor) const { return file_.has(tensor); }
  std::vector<std::string> names() const { return file_.names(); }
  /// A number or word the script stored beside the tensors ("eps", "seed"…). Error when it did not.
  const std::string& metadata(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    CHECK(found != file_.metadata().end(), file_.path(), ": has no metadata '", key, "'");
    return found->second;
  }

 private:
  SafetensorsFile file_;
};

}  // namespace lacuna::testing
