// lacuna doctor on the machine that runs the tests.
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/machine.h"
#include "core/version.h"
#include "kernels/cpu/simd.h"
#include "tests/app/program.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::fails;
using testing::output_of;
using testing::Program;

TEST(Doctor, SaysWhatThisMachineHas) {
  const auto json = nlohmann::json::parse(output_of({"doctor", "--json"}));
  EXPECT_EQ(json["program"]["version"], program_version());
  EXPECT_EQ(json["processor"]["kernels"], simd_kernels().name);
  EXPECT_EQ(json["threads"]["usable"], usable_cores());
  EXPECT_EQ(json["memory"]["usable"], usable_memory());
  EXPECT_GT(json["disk"]["size"].get<std::int64_t>(), 0);
  EXPECT_TRUE(contains(json["libraries"]["blas"].get<std::string>(), "OpenBLAS"));
  EXPECT_FALSE(json["libraries"]["hdf5"].get<std::string>().empty());
  EXPECT_FALSE(json["libraries"]["mpi"].get<std::string>().empty());
  for (const auto& command : json["commands"])
    EXPECT_EQ(command["ready"].get<bool>(), command["missing"].get<std::string>().empty());
}

TEST(Doctor, AlignsItsColumns) {
  std::istringstream lines(output_of({"doctor"}));
  std::size_t column = 0;
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) {
      section = line;
      continue;
    }
    if (section == "commands") continue;
    const std::size_t value = line.find_first_not_of(' ', line.find("  ", 2));
    ASSERT_NE(value, std::string::npos) << line;
    if (column == 0) column = value;
    EXPECT_EQ(value, column) << line;
  }
  EXPECT_GT(column, 0u);
}

TEST(Doctor, AnInstructionSetThatIsNotThereIsEssential) {
  setenv("LACUNA_ISA", "sse9", 1);
  EXPECT_TRUE(fails({"doctor"}, 1, "LACUNA_ISA is \"sse9\""));
  unsetenv("LACUNA_ISA");
}

TEST(Doctor, WarnsOfACoreTypeAndMissesALauncher) {
  const std::string before = std::getenv("PATH");
  setenv("OPENBLAS_CORETYPE", "Haswell", 1);
  setenv("PATH", "/nonexistent", 1);
  Program program({"doctor"});
  const int code = program.wait();
  setenv("PATH", before.c_str(), 1);
  unsetenv("OPENBLAS_CORETYPE");
  EXPECT_EQ(code, 0) << program.err();
  EXPECT_TRUE(contains(program.out(), "warning: OPENBLAS_CORETYPE=Haswell"));
  EXPECT_TRUE(contains(program.out(), "  missing  pretrain, sft, dpo on several ranks\n"));
  EXPECT_TRUE(contains(program.out(), "apt install openmpi-bin"));
}

}  // namespace
}  // namespace lacuna
