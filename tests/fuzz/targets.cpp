#include "tests/fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/input_file.h"

namespace lacuna::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr Target kTargets[] = {
    {"hdf5", read_hdf5, hdf5_seeds},
    {"safetensors", read_safetensors, safetensors_seeds},
    {"index", read_safetensors_index, index_seeds},
    {"gguf", read_gguf, gguf_seeds},
    {"parquet", read_parquet, parquet_seeds},
    {"compressed", read_compressed, compressed_seeds},
    {"megatron", read_megatron, megatron_seeds},
    {"manifest", read_manifest, manifest_seeds},
    {"tokenizer", read_tokenizer, tokenizer_seeds},
    {"regex", read_regex, regex_seeds},
    {"config", read_config, config_seeds},
    {"task", read_task, task_seeds},
    {"pattern", read_pattern, pattern_seeds},
    {"record", read_record, record_seeds},
    {"corpus", read_corpus, corpus_seeds},
    {"dialogue", read_dialogue, dialogue_seeds},
    {"chat_template", read_chat_template, chat_template_seeds},
    {"hugging_face_config", read_hugging_face_config, hugging_face_config_seeds},
    {"metrics", read_metrics, metrics_seeds},
    {"http_request", read_http_request, http_request_seeds},
    {"api_request", read_api_request, api_request_seeds},
};

void put(int descriptor, std::string_view input) {
  CHECK(::ftruncate(descriptor, 0) == 0, "cannot truncate");
  std::size_t done = 0;
  while (done < input.size()) {
    const ssize_t n = ::pwrite(descriptor, input.data() + done, input.size() - done, off_t(done));
    CHECK(n > 0, "cannot write the input");
    done += std::size_t(n);
  }
}

}  // namespace

std::span<const Target> targets() { return kTargets; }

const Target& target_named(const std::string& name) {
  std::string all;
  for (const Target& t : kTargets) {
    if (t.name == name) return t;
    all += std::string(" ") + t.name;
  }
  fail("no target '" + name + "'; there are" + all);
}

std::vector<std::string> seeds_of(const Target& target) {
  std::vector<std::string> all = target.seeds();
  std::vector<fs::path> files;
  for (const char* kind : {"seeds", "found"}) {
    const fs::path folder = fs::path(LACUNA_SEEDS) / kind / target.name;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) all.push_back(read_file(file));
  return all;
}

std::string file_with(std::string_view input) {
  static const int descriptor = ::memfd_create("input", MFD_CLOEXEC);
  CHECK(descriptor >= 0, "no file in memory");
  put(descriptor, input);
  return str("/proc/self/fd/", descriptor);
}

std::string folder_with(const std::string& name, std::string_view input) {
  static const struct Folder {
    std::string path;
    Folder() {
      const bool memory = fs::is_directory("/dev/shm");
      path = ((memory ? fs::path("/dev/shm") : fs::temp_directory_path()) / "lacuna-fuzz-XXXXXX")
                 .string();
      CHECK(::mkdtemp(path.data()), "cannot make ", path);
    }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } folder;
  std::ofstream(fs::path(folder.path) / name, std::ios::binary)
      .write(input.data(), std::streamsize(input.size()));
  return folder.path;
}

}  // namespace lacuna::fuzz
