// build/fuzz/bin/fuzz --target=NAME [libFuzzer's options] [corpus…]
// build/fuzz/bin/fuzz --target=NAME --write-seeds=FOLDER
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/atomic_file.h"
#include "tests/fuzz/targets.h"

namespace {

const lacuna::fuzz::Target* target = nullptr;

std::string option(int argc, char** argv, const std::string& name) {
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).starts_with("--" + name + "="))
      return std::string(argv[i]).substr(name.size() + 3);
  return "";
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  try {
    target = &lacuna::fuzz::target_named(option(*argc, *argv, "target"));
    const std::string folder = option(*argc, *argv, "write-seeds");
    if (folder.empty()) return 0;
    int number = 0;
    for (const std::string& seed : lacuna::fuzz::seeds_of(*target))
      lacuna::write_file(std::filesystem::path(folder) / lacuna::str("seed-", number++), seed);
    std::exit(0);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fuzz: %s\n", e.what());
    std::exit(2);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  target->read({reinterpret_cast<const char*>(data), bytes});
  return 0;
}
