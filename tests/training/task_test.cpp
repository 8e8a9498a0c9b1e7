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

TEST_F(Tasks, ValidationDataOfAnotherTokenizerAreRefused) {
  write_cycle(config.data.validation, 1000, "another tokenizer");
  const auto refusal = [&] {
    return error_of<UsageError>([&] { pretrain_task(TrainingData(config), alone); });
  };
  const std::string path = config.data.train, validation = config.data.validation;
  EXPECT_EQ(refusal(), str("data.validation = ", validation, " and data.train = ", path,
                           " were made with different tokenizers"));
  config.data.train = DataConfig::kDefaultTrain;
  config.data.sources = {{path, 1}};
  EXPECT_EQ(refusal(), str("data.validation = ", validation, " and of data.sources ", path,
                           " were made with different tokenizers"));
}

/// One rank's replica of a model, and an updater of it.
class Updaters : public Tasks {
 protected:
  /// What two updates change, by name.
  std::set<std::string> changed_by(Trained trained) {
    config.lora.rank = 2;
    config.lora.targets = {"q_proj"};
    const TrainingData data(config);
    const DeviceMesh grid(std::make_unique<SelfCommunicator>("world", &ops), 1);
    ModelReplica replica(ops, data.config, grid, 0, trained);
    EXPECT_EQ(replica.frozen.has_value(), trained == Trained::adapters);
    Updater updater(ops, data.config, grid, replica);
    initialise(updater.first_weights(), replica.weights, data.config.model, 1, ops);
    for (std::int64_t i = 0; i < replica.gradients.flat().count(); ++i)
      replica.gradients.flat().as<float>()[i] = float(i % 7) - 3;
    updater.start();
    const float* flat = replica.weights.flat().as<float>();
    const std::vector<float> before(flat, flat + replica.weights.flat().count());
    for (std::int64_t number = 1; number <= 2; ++number) {
      updater.measure();
      updater.update(1e-2, number);
    }
    std::set<std::string> changed;
    for (const NamedWeight& w : replica.weights.named())
      if (std::memcmp(w.tensor.data, &before[std::size_t(w.flat)], std::size_t(w.tensor.bytes())) !=
          0)
        changed.insert(w.name);
    EXPECT_EQ(changed.size(), replica.weights.named().size());
    return changed;
  }
};

TEST_F(Updaters, AllWeightsChange) {
  EXPECT_EQ(changed_by(Trained::weights).count("model.transformer.blocks.0.q_proj.weight"), 1u);
}

TEST_F(Updaters, OrAdaptersOfTheTargets) {
  EXPECT_EQ(changed_by(Trained::adapters),
            (std::set<std::string>{"model.transformer.blocks.0.q_proj.lora_A.weight",
                                   "model.transformer.blocks.0.q_proj.lora_B.weight",
                                   "model.transformer.blocks.1.q_proj.lora_A.weight",
                                   "model.transformer.blocks.1.q_proj.lora_B.weight"}));
}

TEST_F(Updaters, FineTuningTrainsAdaptersWhenTheyHaveARank) {
  EXPECT_EQ(sft_trained({.rank = 0}), Trained::weights);
  EXPECT_EQ(sft_trained({.rank = 4}), Trained::adapters);
}

}  // namespace
}  // namespace lacuna
