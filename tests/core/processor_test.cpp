#include "core/processor.h"

#include <filesystem>

#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::Folder;

TEST(Processor, IsReadFromItsFirstCore) {
  const Folder folder;
  const Processor p = read_processor(folder.write("cpuinfo", R"(processor	: 0
vendor_id	: AuthenticAMD
model name	: AMD EPYC 9R14
flags		: fpu avx2 fma avx512f avx512_bf16
bugs		: sysret_ss_attrs

processor	: 1
model name	: another
flags		: fpu
)"));
  EXPECT_EQ(p.model, "AMD EPYC 9R14");
  EXPECT_TRUE(p.has("avx512_bf16"));
  EXPECT_TRUE(p.has("fpu"));
  EXPECT_FALSE(p.has("avx512"));
  EXPECT_FALSE(p.has("amx_tile"));
}

TEST(Processor, OfArmHasNoModelAndOtherWords) {
  const Folder folder;
  const Processor p = read_processor(
      folder.write("cpuinfo", "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd sve\n"));
  EXPECT_EQ(p.model, "");
  EXPECT_TRUE(p.has("sve"));
  EXPECT_TRUE(read_processor(folder / "none").flags.empty());
}

TEST(GpuDriver, IsWhatItsModuleLists) {
  const Folder folder;
  folder.write(
      "version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC "
      "2023\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n");
  for (const char* gpu : {"gpus/0000:01:00.0", "gpus/0000:02:00.0"})
    fs::create_directories(folder / gpu);
  folder.write("gpus/0000:02:00.0/information", "Model: \t\t NVIDIA A100\nIRQ:   \t\t 44\n");
  folder.write("gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\n");
  const GpuDriver driver = read_gpu_driver(folder / "");
  EXPECT_EQ(driver.version, "535.104.05");
  EXPECT_EQ(driver.gpus, (std::vector<std::string>{"NVIDIA H100 80GB HBM3", "NVIDIA A100"}));
  // The open module says it in another place of the line.
  folder.write(
      "version",
      "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n");
  EXPECT_EQ(read_gpu_driver(folder / "").version, "580.65.06");
}

TEST(GpuDriver, IsMissingOnMachinesWithoutOne) {
  const Folder folder;
  EXPECT_EQ(read_gpu_driver(folder / "none").version, "");
  EXPECT_TRUE(read_gpu_driver(folder / "none").gpus.empty());
  folder.write("version", "something else\n");
  EXPECT_EQ(read_gpu_driver(folder / "").version, "");
}

TEST(FindProgram, TheFirstOfTheFoldersThatHasIt) {
  const Folder folder;
  for (const char* name : {"a", "b", "c"}) fs::create_directories(folder / name);
  folder.write("a/tool", "");  // not executable
  for (const char* name : {"b/tool", "c/tool"}) {
    folder.write(name, "");
    fs::permissions(folder / name, fs::perms::owner_all);
  }
  fs::create_directories(folder / "a/mpirun");  // a folder of that name
  const std::string path =
      folder / "none" + ":" + folder / "a" + ":" + folder / "b" + ":" + folder / "c";
  EXPECT_EQ(find_program("tool", path), folder / "b/tool");
  EXPECT_EQ(find_program("mpirun", path), "");
  EXPECT_EQ(find_program("tool", ""), "");
}

}  // namespace
}  // namespace lacuna
