// What a run trains on, and what of its model it updates: what the trainer relies on of each.
#include "training/task.h"

#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "tests/training/support.h"
#include "training/updater.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Tasks : public TinyRun, public ::testing::Test {
 protected:
  Tasks() {
    config.model.mask_token = kMask;
    config.model.eos_token = kEnd;
    config.data.sequence_length = 16;
  }
  SelfCommunicator alone;
};

TEST_F(Tasks, PretrainingTakesWindows) {
  const TrainingData data(config);
  const Task task = pretrain_task(data, alone);
  EXPECT_EQ(task.source().samples_per_epoch(), 4000 / 16);
  ASSERT_NE(task.validator(), nullptr);
  EXPECT_EQ(task.validator()->description(), "8 sequences");
}

TEST_F(Tasks, FineTuningTakesExamples) {
  write_questions(config.data.train, 50);
  write_questions(config.data.validation, 5);
  const TrainingData data(config);
  const Task task = sft_task(data, alone);
  EXPECT_EQ(task.source().samples_per_epoch(), 50);
  ASSERT_NE(task.validator(), nullptr);
  EXPECT_EQ(task.validator()->description(), "5 examples");  // fewer than train.eval_samples
}

TEST_F(Tasks, ValidationIsOptional) {
  config.data.validation.clear();
  EXPECT_EQ(pretrain_task(TrainingData(config), alone).validator(), nullptr);
  write_questions(config.data.train, 5);
  EXPECT_EQ(sft_task(TrainingData(config), alone).validator(), nullptr);
}

TEST_F(Tasks, ValidationDataOfALargerVocabularyAreRefused) {
  config.model.vocab_size = kVocabulary;
  write_cycle(config.data.validation, 1000, "", kVocabulary + 3);
  for (const TaskFactory task : {pretrain_task, sft_task}) {
    if (task == sft_task) write_questions(config.data.train, 5);
    EXPECT_TRUE(contains(error_of<UsageError>([&] { task(TrainingData(config), alone); }),
                         str("data.validation = ", config.data.validation, " holds ids up to ",
                             kVocabulary + 2, ", but model.vocab_size is ", kVocabulary)));
  }
}

/// One rank's replica of a model, and updaters of it.
class Updaters : public Tasks {
 protected:
  Updaters()
      : data(with_targets(config)),
        grid(std::make_unique<SelfCommunicator>("world", &ops), 1),
        team(grid.world()),
        replica(ops, data.config, grid, kBucketBytes) {
    initialise(replica.weights, data.config.model, 1, ops);
    for (std::int64_t i = 0; i < replica.gradients.flat().count(); ++i)
      replica.gradients.flat().as<float>()[i] = float(i % 7) - 3;
  }
  static Config with_targets(Config c) {
    c.lora.rank = 2;
    c.lora.targets = {"q_proj"};
    return c;
  }
  std::unique_ptr<Updater> updater(const UpdaterKind& kind) {
    return kind.make({ops, data.config, grid, team, replica});
  }
  /// The weights that an update changes, by name.
  std::set<std::string> changed_by(Updater& updater) {
    updater.start(3);
    const float* flat = replica.weights.flat().as<float>();
    const std::vector<float> before(flat, flat + replica.weights.flat().count());
    for (std::int64_t number = 1; number <= 2; ++number) {  // B is 0 at first
      updater.measure();
      updater.update(1e-2, number);
    }
    std::set<std::string> changed;
    for (const NamedWeight& w : replica.weights.named())
      if (std::memcmp(w.tensor.data, &before[std::size_t(w.flat)], std::size_t(w.tensor.bytes())) !=
          0)
        changed.insert(w.name);
    return changed;
  }

  const TrainingData data;
  DeviceMesh grid;
  RankProcessGroup team;
  ModelReplica replica;
};

TEST_F(Updaters, AllWeightsChange) {
  const auto all = updater(all_weights());
  EXPECT_EQ(changed_by(*all).size(), replica.weights.named().size());
  EXPECT_EQ(all->description(), "");
  EXPECT_NE(all->optimizer(), nullptr);
  EXPECT_EQ(all_weights().verify, nullptr);
}

TEST_F(Updaters, AdaptersChangeTheirTargetsAlone) {
  const auto lora = updater(lora_adapters());
  EXPECT_EQ(changed_by(*lora), (std::set<std::string>{"model.transformer.blocks.0.q_proj.weight",
                                                      "model.transformer.blocks.1.q_proj.weight"}));
  EXPECT_EQ(lora->description(), "LoRA rank 2: 128 trainable parameters");  // 2 blocks 2 (16 + 16)
  EXPECT_EQ(lora->optimizer(), nullptr);
  EXPECT_EQ(lora->trace().tensors.size(), 2u * 2 * 2);  // blocks, A and B, values and gradients
}

TEST_F(Updaters, FineTuningUpdatesAdaptersWhenTheyHaveARank) {
  EXPECT_EQ(sft_updater({.rank = 0}).make, all_weights().make);
  EXPECT_EQ(sft_updater({.rank = 4}).verify, lora_adapters().verify);
}

}  // namespace
}  // namespace lacuna
