// lacuna evaluate, score and sample under mpirun, on a random model: what every layout must agree
// in, and what can go wrong on some ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "core/text.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/mpirun.h"
#include "tests/app/program.h"
#include "tests/model/support.h"
#include "tests/support/device.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_lines;
using testing::Folder;
using testing::mpirun;
using testing::Program;

using Json = nlohmann::json;
using Words = std::vector<std::string>;

/// Ranks, and how many of them a tensor parallel (TP) group has.
struct Layout {
  int ranks, tensor;
};

class ParallelEvaluate : public ::testing::Test {
 protected:
  ParallelEvaluate() {
    ModelConfig model;
    model.vocab_size = 258;
    model.num_layers = 2;
    model.hidden_size = 32;
    model.num_heads = 4;
    model.intermediate_size = 48;
    model.max_seq_length = 64;
    model.mask_token = testing::kByteMask;
    model.eos_token = testing::kByteEnd;
    ModelTensors weights(testing::cpu().memory(), model, "weights");
    testing::randomise(weights, 3);
    Config config;
    config.model = model;
    CheckpointInfo info;
    info.config = to_toml(config);
    info.tokenizer = testing::byte_tokenizer_json();
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights.named()) tensors.model.push_back({w.name, w.tensor});
    save_checkpoint(checkpoint_, info, tensors);
  }

  /// A text of `length` letters.
  static std::string letters(int length, int seed) {
    std::string text;
    for (int i = 0; i < length; ++i) text += char('a' + (seed * 7 + i * i * (seed + 1)) % 26);
    return text;
  }
  /// One task of each type, of records with very different lengths.
  Words tasks() const {
    std::string choices, pairs, gaps, texts;
    for (int i = 0; i < 9; ++i) {
      const int length = 1 + (i * 5) % 30;
      choices += str(R"({"q":")", letters(length, i), R"(","choices":["ab","cdef","g"],"answer":)",
                     i % 3, "}\n");
      pairs += str(R"({"q":")", letters(length, i), R"(","a":")", char('a' + i), R"("})", "\n");
      gaps += str(R"({"text":")", letters(length, i), R"( {gap} end","answers":["abc"]})", "\n");
      texts += str(R"({"text":")", letters(length * 6, i), "\"}\n");
    }
    const auto task = [&](const std::string& name, const std::string& records,
                          const std::string& toml) {
      folder_.write(name + ".jsonl", records);
      return folder_.write(name + ".toml", "[task]\ndata = \"" + name + ".jsonl\"\n" + toml);
    };
    // Of texts that take different numbers of passes.
    const std::string generation =
        "[sampler]\ngen_length = 12\ntemperature = 0.7\nstrategy = \"threshold\"\nthreshold = "
        "0.1\n";
    return {
        task("choice", choices, "prompt = \"{q}\"\n[likelihood]\nsamples = 5\n"),
        task("generation", pairs,
             "type = \"generation\"\nprompt = \"{q}{q}{q}\"\nanswer = \"{a}\"\nmatch = "
             "\"substring\"\n" +
                 generation),
        task("infilling", gaps, "type = \"infilling\"\nprompt = \"{text}\"\n" + generation),
        task("reversal", pairs,
             "type = \"reversal\"\nprompt = \"{q}\"\nanswer = \"{a}\"\nreverse_prompt = \"{a}\"\n"
             "reverse_answer = \"{q}\"\ndistractors = 3\n[likelihood]\nsamples = 4\n"),
        task("perplexity", texts,
             "type = \"perplexity\"\nanswer = \"{text}\"\n[likelihood]\nsamples = 300\n"),
    };
  }

  /// What an evaluation wrote.
  struct Result {
    std::string out, outcomes;
    Json json;
  };
  Words command(const Words& arguments, int tensor) const {
    Words words = arguments;
    words.insert(words.end(), {"--checkpoint", checkpoint_, "--threads", "1"});
    if (tensor > 1) words.insert(words.end(), {"--tensor-parallel", str(tensor)});
    return words;
  }
  std::unique_ptr<Program> start(const Words& arguments, Layout layout) const {
    return std::make_unique<Program>(command(arguments, layout.tensor), RLIM_INFINITY, "",
                                     layout.ranks > 1 ? mpirun(layout.ranks) : Words{});
  }
  Result evaluated(const Words& arguments, Layout layout) const {
    Words words = {"evaluate", "--json", folder_ / "r.json", "--outcomes", folder_ / "o.jsonl"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const auto job = start(words, layout);
    EXPECT_EQ(job->wait(), 0) << job->err();
    Result result{job->out(), read_file(folder_ / "o.jsonl"),
                  Json::parse(read_file(folder_ / "r.json"))};
    for (Json& task : result.json["tasks"]) {
      task.erase("seconds");
      if (!task.contains("generation")) continue;
      // How many texts share a pass depends on the layout.
      for (const char* of_layout :
           {"passes", "tokens_per_pass", "ms_per_pass", "tokens_per_second"})
        task["generation"].erase(of_layout);
    }
    return result;
  }
  std::string scored(const Words& arguments, Layout layout) const {
    Words words = {"score"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const auto job = start(words, layout);
    EXPECT_EQ(job->wait(), 0) << job->err();
    return job->out();
  }
  /// The command fails with this exit code and one line, which holds `part`.
  void expect_failure(const Words& arguments, Layout layout, int code,
                      const std::string& part) const {
    const auto job = start(arguments, layout);
    EXPECT_EQ(job->wait(), code) << job->err();
    const Words lines = error_lines(job->err());
    ASSERT_EQ(lines.size(), 1u) << job->err();
    EXPECT_TRUE(contains(lines[0], part));
  }

  Folder folder_;
  const std::string checkpoint_ = folder_ / "m.h5";
};

/// The same but for rounding.
void expect_near(const Json& found, const Json& expected) {
  ASSERT_EQ(found.type(), expected.type());
  if (expected.is_number_float()) {
    EXPECT_NEAR(found.get<double>(), expected.get<double>(),
                1e-4 * (1 + std::abs(expected.get<double>())));
  } else if (expected.is_structured()) {
    ASSERT_EQ(found.size(), expected.size());
    for (auto a = found.begin(), b = expected.begin(); b != expected.end(); ++a, ++b)
      expect_near(*a, *b);
  } else {
    EXPECT_EQ(found, expected);
  }
}

TEST_F(ParallelEvaluate, EveryLayoutGivesTheResultsOfOneRank) {
  const Words all = tasks();
  const Result alone = evaluated(all, {1, 1});
  // One line per record, twice for the two directions.
  std::vector<std::string> places, expected;
  std::istringstream lines(alone.outcomes);
  for (std::string line; std::getline(lines, line);) {
    const std::string place = Json::parse(line)["record"];
    places.push_back(place.substr(place.rfind('/') + 1));
  }
  for (const char* task : {"choice", "generation", "infilling", "reversal", "reversal"})
    for (int i = 1; i <= 9; ++i) expected.push_back(str(task, ".jsonl:", i));
  EXPECT_EQ(places, expected);
  for (const int ranks : {2, 4}) {
    const Result parallel = evaluated(all, {ranks, 1});
    EXPECT_EQ(parallel.out, alone.out);
    EXPECT_EQ(parallel.outcomes, alone.outcomes);
    EXPECT_EQ(parallel.json.dump(), alone.json.dump());
  }
  for (const Layout layout : {Layout{2, 2}, Layout{4, 2}}) {
    SCOPED_TRACE(str(layout.ranks, " ranks, ", layout.tensor, " tensor"));
    const Result shared = evaluated(all, layout);
    EXPECT_EQ(shared.outcomes, alone.outcomes);
    expect_near(shared.json, alone.json);
  }
}

// The tokens of a device are those of the CPU, with a device for each rank.
TEST_F(ParallelEvaluate, EachRankTakesItsDevice) {
  const testing::Devices devices(4);
  if (!devices.why_not.empty()) GTEST_SKIP() << devices.why_not;
  Words some = {tasks()[0], tasks()[1], "--set", "task.limit=3"};
  // A round on a device computes rows that are filled, and passes that find the block full.
  const auto without_rows = [](Json json) {
    for (Json& task : json["tasks"])
      if (task.contains("generation"))
        for (const char* key : {"rows", "logit_rows"}) task["generation"].erase(key);
    return json;
  };
  const Result alone = evaluated(some, {1, 1});
  some.insert(some.end(), {"--device", testing::kDevice});
  for (const Layout layout : {Layout{1, 1}, Layout{4, 2}}) {
    Result found = evaluated(some, layout);
    EXPECT_EQ(found.outcomes, alone.outcomes);
    found.json["model"]["device"] = "cpu";
    expect_near(without_rows(found.json), without_rows(alone.json));
  }
}

TEST_F(ParallelEvaluate, FewerRecordsThanRanks) {
  const Words one = {tasks()[0], tasks()[1], tasks()[4], "--set", "task.limit=1"};
  const Result alone = evaluated(one, {1, 1}), parallel = evaluated(one, {4, 1});
  EXPECT_EQ(parallel.outcomes, alone.outcomes);
  EXPECT_EQ(parallel.json.dump(), alone.json.dump());
}

TEST_F(ParallelEvaluate, ABadRecordEndsTheJobWithOneLine) {
  const std::string task = tasks()[1];
  std::string records = read_file(folder_ / "generation.jsonl");
  write_file(folder_ / "generation.jsonl", records + "{\"q\": \"x\"}\n");
  for (const Layout layout : {Layout{2, 1}, Layout{4, 2}})
    expect_failure({"evaluate", task, "--json", folder_ / "r.json"}, layout, 1,
                   "generation.jsonl:10: has no field \"a\"");
  EXPECT_FALSE(fs::exists(folder_ / "r.json"));
}

TEST_F(ParallelEvaluate, MistakesAreToldOnce) {
  const std::string task = tasks()[0];
  expect_failure({"evaluate", task}, {4, 3}, 2,
                 "--tensor-parallel 3 must divide model.num_heads = 4");
  expect_failure({"evaluate", task}, {2, 4}, 2,
                 "--tensor-parallel 4 does not divide the 2 ranks of this run");
  expect_failure({"evaluate", task, "--set", "task.typo=1"}, {2, 1}, 2, "unknown key");
  expect_failure({"score", "--text", "ab", "--prompt", "c"}, {1, 2}, 2,
                 "--tensor-parallel 2 does not divide the 1 rank of this run");
}

TEST_F(ParallelEvaluate, ArgumentsAndRecordsMustBeTheSame) {
  const std::string task = tasks()[0];
  const auto fails = [&](const std::string& shell, const std::string& part) {
    Words launcher = mpirun(2);
    launcher.insert(launcher.end(), {"sh", "-c", shell, "sh"});
    Program job(command({"evaluate", task}, 1), RLIM_INFINITY, "", launcher);
    EXPECT_EQ(job.wait(), 2) << job.err();
    EXPECT_TRUE(contains(job.err(), part));
  };
  fails("exec \"$@\" --set task.limit=$((OMPI_COMM_WORLD_RANK + 1))",
        "the arguments must be the same on every rank, but rank 0 and rank 1 have 'limit = 1' and "
        "'limit = 2'");
  // As where each machine has files of its own.
  write_file(folder_ / "0.jsonl", read_file(folder_ / "choice.jsonl"));
  write_file(folder_ / "1.jsonl", read_file(folder_ / "choice.jsonl") +
                                      "{\"q\":\"\",\"choices\":[\"a\",\"b\"],\"answer\":0}\n");
  fs::remove(folder_ / "choice.jsonl");
  const std::string linked =
      folder_.write("linked.sh",
                    "mkdir -p $D/$OMPI_COMM_WORLD_RANK && cp $D/choice.toml "
                    "$D/$OMPI_COMM_WORLD_RANK/ && cp $D/$OMPI_COMM_WORLD_RANK.jsonl "
                    "$D/$OMPI_COMM_WORLD_RANK/choice.jsonl && cd $D/$OMPI_COMM_WORLD_RANK && "
                    "exec $P evaluate choice.toml --threads 1 --checkpoint $D/m.h5");
  fails("D=" + (folder_ / "") + " P=$1 . " + linked,
        "the records of a task must be the same on every rank, but rank 0 and rank 1 have '9 "
        "records");
}

TEST_F(ParallelEvaluate, ScoresAreThoseOfOneRankInOrder) {
  std::string texts;
  for (int i = 0; i < 30; ++i)
    texts += str(R"({"prompt":")", letters(i % 7, i), R"(","text":")", letters(1 + i * 11 % 40, i),
                 "\"}\n");
  // Passes enough for several exchanges of estimates.
  const Words score = {
      "--input", folder_.write("t.jsonl", texts), "--json", "--samples", "12", "--batch-tokens",
      "64"};
  const std::string alone = scored(score, {1, 1});
  EXPECT_EQ(std::count(alone.begin(), alone.end(), '\n'), 30);
  for (const int ranks : {2, 4}) EXPECT_EQ(scored(score, {ranks, 1}), alone);
  for (const Layout layout : {Layout{2, 2}, Layout{4, 2}}) {
    std::istringstream found(scored(score, layout)), expected(alone);
    std::string a, b;
    while (std::getline(expected, b)) {
      ASSERT_TRUE(std::getline(found, a));
      expect_near(Json::parse(a), Json::parse(b));
    }
    EXPECT_FALSE(std::getline(found, a));
  }
  // One text of fewer passes than ranks.
  const Words one = {"--text", "abc", "--samples", "3"};
  EXPECT_EQ(scored(one, {4, 1}), scored(one, {1, 1}));
}

TEST_F(ParallelEvaluate, SamplesAreThoseOfOneRankInOrder) {
  const auto sampled = [&](Words arguments, Layout layout) {
    arguments.insert(arguments.begin(), {"sample", "--ids", "--temperature", "0.8", "--steps-map",
                                         folder_ / "m.jsonl", "--stats-json", folder_ / "s.json"});
    const auto job = start(arguments, layout);
    EXPECT_EQ(job->wait(), 0) << job->err();
    Json stats = Json::parse(read_file(folder_ / "s.json"));
    return std::vector<std::string>{job->out(), read_file(folder_ / "m.jsonl"),
                                    stats["tokens"].dump()};
  };
  const Words few = {"--prompt", "ab", "--num-samples", "7", "--gen-length", "12", "--steps", "6"};
  const Words fast = {"--prompt",   "abc",  "--num-samples", "5",    "--gen-length",   "12",
                      "--strategy", "wino", "--cache",       "dual", "--block-length", "6"};
  const Words gaps = {"--infill", "a {gap} b {gap:3} c", "--num-samples", "3"};
  // Several rounds of 8 passes of 64 texts on each rank.
  const Words many = {
      "--prompt", letters(60, 1), "--num-samples", "1050", "--gen-length", "4", "--steps", "1"};
  for (const Words& arguments : {few, fast, gaps}) {
    const std::vector<std::string> alone = sampled(arguments, {1, 1});
    for (const Layout layout : {Layout{2, 1}, Layout{4, 1}})
      EXPECT_EQ(sampled(arguments, layout), alone);
    for (const Layout layout : {Layout{2, 2}, Layout{4, 2}})
      EXPECT_EQ(sampled(arguments, layout)[0], alone[0]);
  }
  EXPECT_EQ(sampled(many, {2, 1}), sampled(many, {1, 1}));
  expect_failure({"sample", "--chat"}, {2, 1}, 2, "--chat is for one rank, and 2 were started");
}

}  // namespace
}  // namespace lacuna
