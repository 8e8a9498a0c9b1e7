#include "app/machine_report.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include "comm/mpi_version.h"
#include "core/check.h"
#include "core/machine.h"
#include "core/processor.h"
#include "core/text.h"
#include "core/version.h"
#include "formats/hdf5_version.h"
#include "kernels/backend.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/simd.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Rows = std::vector<ReportRow>;

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

std::string either(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

/// What `look` returns, or, of an Error, nothing and its message in `why`.
template <class Look>
auto attempt(std::string& why, Look&& look) -> std::optional<decltype(look())> {
  try {
    return look();
  } catch (const Error& e) {
    why = e.what();
    return std::nullopt;
  }
}

struct Feature {
  const char *flag, *name;
};
// In the order in which kernels would want them.
constexpr Feature kFeatures[] = {
    {"avx2", "AVX2"},           {"fma", "FMA"},
    {"avx512f", "AVX-512"},     {"avx512_bf16", "AVX-512 BF16"},
    {"avx_vnni", "AVX VNNI"},   {"avx512_vnni", "AVX-512 VNNI"},
    {"amx_bf16", "AMX BF16"},   {"amx_int8", "AMX INT8"},
    {"asimd", "Advanced SIMD"}, {"sve", "SVE"},
};

ReportSection processor_section(MachineReport& report) {
  const Processor processor = read_processor();
  Rows rows = {{"model", processor.model, either(processor.model, "unknown")}};
  std::vector<std::string> has;
  for (const Feature& f : kFeatures)
    if (processor.has(f.flag)) has.emplace_back(f.name);
  std::string features;
  for (const std::string& name : has) features += (features.empty() ? "" : ", ") + name;
  rows.push_back({"instruction_sets", has, either(features, "unknown")});
  std::string why;
  const auto kernels = attempt(why, [] { return std::string(simd_kernels().name); });
  const char* isa = environment("LACUNA_ISA");
  rows.push_back(
      {"kernels", kernels.value_or(""), kernels ? *kernels + (isa ? " (LACUNA_ISA)" : "") : why});
  if (!kernels)
    report.requirements.push_back(
        {"everything on the CPU", why, "unset LACUNA_ISA", /*essential=*/true});
  return {"processor", rows};
}

ReportSection threads_section() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int all = int(std::thread::hardware_concurrency());
  const int bound = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : all;
  const std::optional<double> quota = read_group_limits().cores;
  const int usable = usable_cores();
  Rows rows = {{"usable", usable, counted(usable, "core")}, {"online", get_nprocs(), ""}};
  rows.back().text = counted(get_nprocs(), "core");
  rows.push_back({"affinity", bound, counted(bound, "core")});
  rows.push_back({"control_group", nullptr, "no limit"});
  if (quota) rows.back() = {"control_group", *quota, str(*quota, " cores of CPU time")};
  return {"threads", rows};
}

ReportSection memory_section() {
  struct sysinfo info {};
  (void)sysinfo(&info);
  const auto bytes = [&](unsigned long units) {
    return std::int64_t(units) * std::int64_t(info.mem_unit);
  };
  const auto row = [](const char* key, std::int64_t n) {
    return ReportRow{key, n, human_bytes(n)};
  };
  Rows rows = {row("usable", usable_memory()), row("installed", bytes(info.totalram)),
               row("free", bytes(info.freeram + info.bufferram)),
               row("swap", bytes(info.totalswap))};
  rows.push_back({"control_group", nullptr, "no limit"});
  if (const auto limit = read_group_limits().memory)
    rows.back() = {"control_group", *limit, human_bytes(*limit)};
  rlimit address_space{};
  rows.push_back({"address_space", nullptr, "no limit"});
  if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY)
    rows.back() = {"address_space", address_space.rlim_cur,
                   human_bytes(std::int64_t(address_space.rlim_cur)) + " (ulimit -v)"};
  return {"memory", rows};
}

ReportSection disk_section(MachineReport& report) {
  std::error_code error;
  const fs::path here = fs::current_path(error);
  const fs::space_info space = error ? fs::space_info{} : fs::space(here, error);
  if (error) return {"disk", {{"folder", nullptr, error.message()}}};
  const auto available = std::int64_t(space.available), whole = std::int64_t(space.capacity);
  const bool writable = access(here.c_str(), W_OK | X_OK) == 0;
  if (!writable) report.warnings.push_back(here.string() + ": no permission to write here");
  return {"disk",
          {{"folder", here.string(), here.string() + (writable ? "" : " (not writable)")},
           {"free", available, human_bytes(available)},
           {"size", whole, human_bytes(whole)}}};
}

ReportSection libraries_section(MachineReport& report) {
  Rows rows;
  std::string why;
  const auto blas = attempt(why, blas_description);
  rows.push_back({"blas", blas.value_or(""), blas ? *blas + " kernels" : why});
  report.requirements.push_back(
      {"pretrain, sft, dpo, sample, serve, score, evaluate, forward, bench on the CPU",
       blas ? "" : why, "apt install libopenblas0-pthread",
       /*essential=*/true});
  if (const char* core = environment("OPENBLAS_CORETYPE"))
    report.warnings.push_back(
        str("OPENBLAS_CORETYPE=", core,
            " is set and takes the place of the kernels that Lacuna would have OpenBLAS choose; "
            "unset it unless it is meant"));
  rows.push_back({"hdf5", hdf5_version(),
                  hdf5_version() + (hdf5_is_parallel() ? ", built with MPI-IO" : "") +
                      " (checkpoints of many ranks need no MPI-IO)"});
  rows.push_back({"mpi", mpi_version(), mpi_version()});
  const char* path = environment("PATH");
  std::string launcher;
  for (const char* name : {"mpirun", "mpiexec", "srun"})
    if (launcher.empty() && path) launcher = find_program(name, path);
  rows.push_back({"launcher", launcher, either(launcher, "none in PATH")});
  report.requirements.push_back({"pretrain, sft, dpo on several ranks",
                                 launcher.empty() ? "a launcher (mpirun or srun)" : "",
                                 "apt install openmpi-bin"});
  return {"libraries", rows};
}

/// The version of NCCL as a number like 21805, or none where it cannot be loaded.
std::optional<int> nccl_version() {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::nullopt;
  int version = 0;
  const auto get = reinterpret_cast<int (*)(int*)>(dlsym(library, "ncclGetVersion"));
  const bool known = get && get(&version) == 0;
  (void)dlclose(library);
  return known ? std::optional(version) : std::nullopt;
}

constexpr const char* kPortableAttention = ", attention by mma.sync";

/// The GPUs as this program's backend sees them; what keeps it from them in `why`.
std::vector<std::string> usable_gpus(std::string& why) {
  std::vector<std::string> gpus;
  const int count = attempt(why, [] { return device_count("cuda"); }).value_or(0);
  for (int i = 0; i < count; ++i)
    if (const auto text =
            attempt(why, [i] { return make_ops("cuda", {.index = i})->description(); }))
      gpus.push_back(*text +
                     (text->find("attention") == std::string::npos ? kPortableAttention : ""));
  return gpus;
}

bool built_with_cuda() {
  std::string why;
  return attempt(why, [] { return device_count("cuda-emulated"); }) == std::nullopt;
}

ReportSection gpu_section(MachineReport& report) {
  const GpuDriver driver = read_gpu_driver();
  const bool cuda = built_with_cuda();
  std::string why;
  const std::vector<std::string> gpus = cuda ? usable_gpus(why) : std::vector<std::string>();
  Rows rows = {
      {"driver", driver.version, either(driver.version, "no NVIDIA driver")},
      {"build", cuda ? "cuda" : "cpu",
       cuda ? "with CUDA" : "without CUDA; its kernels can run emulated (--device cuda-emulated)"}};
  for (std::size_t i = 0; i < std::max(gpus.size(), driver.gpus.size()); ++i) {
    const std::string name = i < gpus.size() ? gpus[i] : driver.gpus[i];
    rows.push_back({str("gpu", i), name, name});
  }
  const std::optional<int> nccl = nccl_version();
  const auto version = [](int n) {
    return n < 10000 ? str(n / 1000, '.', n / 100 % 10, '.', n % 100)
                     : str(n / 10000, '.', n / 100 % 100, '.', n % 100);
  };
  rows.push_back({"nccl", nccl ? version(*nccl) : "", nccl ? version(*nccl) : "not found"});

  Requirement one{"--device cuda, compute.device = \"cuda\"", "", ""};
  if (driver.version.empty() && gpus.empty()) {
    one.missing = "an NVIDIA GPU with its driver";
    one.remedy =
        str("apt install nvidia-driver", cuda ? "" : ", and build with cmake --preset cuda");
  } else if (!cuda) {
    one.missing = "CUDA in this program";
    one.remedy = "build with cmake --preset cuda";
  } else if (gpus.empty()) {
    one.missing = "a usable GPU";
    one.remedy = why;
  }
  report.requirements.push_back(one);
  Requirement several{"a GPU for each rank, by NCCL", one.missing, one.remedy};
  if (one.missing.empty() && !nccl) {
    several.missing = "NCCL (libnccl.so.2); GPUs exchange through host memory without it";
    several.remedy = "apt install libnccl2 (of NVIDIA's repository)";
  }
  report.requirements.push_back(several);
  return {"gpu", rows};
}

}  // namespace

MachineReport inspect_machine() {
  MachineReport report;
  report.requirements.push_back(
      {"tokenizer, prepare, import, export, inspect, plan, config", "", ""});
  report.sections.push_back({"program", {{"version", program_version(), program_version()}}});
  report.sections.push_back(processor_section(report));
  report.sections.push_back(threads_section());
  report.sections.push_back(memory_section());
  report.sections.push_back(disk_section(report));
  report.sections.push_back(libraries_section(report));
  report.sections.push_back(gpu_section(report));
  return report;
}

}  // namespace lacuna
