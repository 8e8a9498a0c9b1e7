#include "training/metrics.h"

#include <limits>

#include "tests/data/support.h"
#include "tests/support/support.h"
#include "tests/training/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::json_lines;

StepMetrics step_metrics(std::int64_t step) {
  return {.step = step,
          .loss = 1.0 / double(step),
          .grad_norm = 0.1,
          .learning_rate = 1e-3,
          .tokens = step * 100,
          .tokens_per_second = 1000,
          .mfu = 0.5,
          .elapsed = double(step) * 0.1,
          .samples = step * 4,
          .bad_steps = 1};
}

TEST(Metrics, ALineEachUnderTheDocumentedNames) {
  const Folder folder;
  MetricsLog log(folder / "m.jsonl", 0);
  StepMetrics waited = step_metrics(3);
  waited.data_seconds = 0.25;
  waited.communication_seconds = 0.5;
  waited.checkpoint_seconds = 0.75;
  log.write(waited);
  log.write(ValidationMetrics{3, 2.5, 1.25, 0.125, {}});
  log.write(ValidationMetrics{4, 2.25, std::nullopt, 0.5, {0.25, std::nan("")}});
  EXPECT_EQ(read_file(folder / "m.jsonl"),
            R"({"step":3,"loss":0.3333333333333333,"grad_norm":0.1,"learning_rate":0.001,)"
            R"("tokens":300,"tokens_per_second":1000.0,"mfu":0.5,"elapsed":0.30000000000000004,)"
            R"("samples":12,"bad_steps":1,"data_seconds":0.25,"communication_seconds":0.5,)"
            R"("checkpoint_seconds":0.75})"
            "\n"
            R"({"step":3,"validation_bound":2.5,"bits_per_byte":1.25,"validation_error":0.125})"
            "\n"
            R"({"step":4,"validation_bound":2.25,"validation_error":0.5,)"
            R"("validation_loss_by_mask_probability":[0.25,null]})"
            "\n");
  EXPECT_EQ(log.last_validation(), 4);
}

TEST(Metrics, NotANumberIsNull) {
  const Folder folder;
  MetricsLog log(folder / "m.jsonl", 0);
  StepMetrics m = step_metrics(1);
  m.loss = std::numeric_limits<double>::quiet_NaN();
  m.grad_norm = std::numeric_limits<double>::infinity();
  log.write(m);
  const auto line = json_lines(folder / "m.jsonl").at(0);
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["grad_norm"].is_null());
}

TEST(Metrics, ResumingDropsWhatComesAfterTheCheckpoint) {
  const Folder folder;
  {
    MetricsLog log(folder / "m.jsonl", 0);
    for (std::int64_t step = 1; step <= 8; ++step) {
      log.write(step_metrics(step));
      if (step % 2 == 0) log.write(ValidationMetrics{step, 2, std::nullopt, 0, {}});
    }
  }
  std::ofstream(folder / "m.jsonl", std::ios::app) << R"({"step":9,"lo)";  // a crash
  MetricsLog log(folder / "m.jsonl", 5);
  EXPECT_DOUBLE_EQ(log.elapsed(), 0.5);
  EXPECT_EQ(log.last_validation(), 4);
  log.write(step_metrics(6));
  std::vector<std::int64_t> steps;
  for (const auto& line : json_lines(folder / "m.jsonl")) steps.push_back(line["step"]);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{1, 2, 2, 3, 4, 4, 5, 6}));
}

TEST(Metrics, ResumingKeepsLinesByteForByte) {
  const Folder folder;
  const std::string line = R"({"step": 1, "loss": 1.50, "mine": "kept"})";
  folder.write("m.jsonl", line + "\n");
  const MetricsLog log(folder / "m.jsonl", 1);
  EXPECT_EQ(read_file(folder / "m.jsonl"), line + "\n");
}

TEST(Metrics, StartingAnewEmptiesTheFile) {
  const Folder folder;
  folder.write("m.jsonl", "{\"step\":1}\n");
  const MetricsLog log(folder / "m.jsonl", 0);
  EXPECT_EQ(read_file(folder / "m.jsonl"), "");
  EXPECT_EQ(log.last_validation(), -1);
}

TEST(Metrics, AFullDiskIsAnError) {
  const Folder folder;
  MetricsLog log(folder / "m.jsonl", 0);
  const testing::FullDisk full(100);
  EXPECT_TRUE(contains(error_of([&] {
                         for (int i = 1; i < 10; ++i) log.write(step_metrics(i));
                       }),
                       "m.jsonl: cannot write: File too large"));
}

TEST(Metrics, AFolderThatIsNotThere) {
  const Folder folder;
  EXPECT_TRUE(contains(error_of([&] { AppendFile file(folder / "none/m.jsonl"); }),
                       "m.jsonl: cannot write: No such file"));
}

}  // namespace
}  // namespace lacuna
