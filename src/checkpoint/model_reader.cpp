#include "checkpoint/model_reader.h"

#include <algorithm>

#include "checkpoint/checkpoint.h"
#include "checkpoint/hugging_face.h"

namespace lacuna {

void ModelReader::verify(int part, int parts) const {
  struct Stored {
    std::int64_t bytes;
    const char* group;
    std::string name;
  };
  std::vector<Stored> all;
  for (const char* group : {"model", "first_moment", "second_moment", "master"})
    for (const std::string& name : names(group))
      all.push_back({shape(group, name).count() * size_of(dtype(group, name)), group, name});
  // The largest first, each to the part that has least.
  std::stable_sort(all.begin(), all.end(),
                   [](const Stored& a, const Stored& b) { return a.bytes > b.bytes; });
  std::vector<std::int64_t> bytes(std::size_t(parts), 0);
  for (const Stored& s : all) {
    const auto least = std::min_element(bytes.begin(), bytes.end());
    *least += s.bytes;
    if (least - bytes.begin() == part) verify(s.group, s.name);
  }
}

std::unique_ptr<const ModelReader> open_model(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return std::make_unique<HuggingFaceReader>(path);
  return std::make_unique<CheckpointReader>(path);
}

}  // namespace lacuna
