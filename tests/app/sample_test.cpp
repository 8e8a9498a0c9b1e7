#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "config/decoding_options.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/program.h"
#include "tests/support/golden.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Arguments = std::vector<std::string>;
using Tokens = std::vector<std::int32_t>;

std::string words(const Tokens& tokens) {
  std::string text;
  for (const std::int32_t t : tokens) text += str(text.empty() ? "" : " ", t);
  return text;
}
Tokens row_of(const Tensor& t, std::int64_t row) {
  const Tensor r = t.row_range(row, 1);
  return {r.as<std::int32_t>(), r.as<std::int32_t>() + r.cols()};
}

void save(const std::string& path, const ModelConfig& model, const std::string& tokenizer,
          const std::vector<NamedTensor>& weights) {
  Config config;
  config.model = model;
  CheckpointInfo info;
  info.config = to_toml(config);
  info.tokenizer = tokenizer;
  CheckpointTensors tensors;
  tensors.model = weights;
  save_checkpoint(path, info, tensors);
}

/// The weights of scripts/golden/sampler.py in checkpoints without a tokenizer.
class SampleIds : public ::testing::Test {
 protected:
  std::string checkpoint(const std::string& weights) const {
    const std::string path = folder_ / (weights + ".h5");
    if (std::filesystem::exists(path)) return path;
    ModelConfig config = golden_config(golden_, weights == "causal");
    config.eos_token = std::stoll(golden_.metadata("eos_token"));
    std::vector<NamedTensor> tensors;
    for (const std::string& name : golden_.names())
      if (name.starts_with(weights + "/"))
        tensors.push_back({name.substr(weights.size() + 1), golden_[name]});
    save(path, config, "", tensors);
    return path;
  }
  Folder folder_;
  Golden golden_{"sampler"};
};

TEST_F(SampleIds, EveryOptionIsThatOfTheSampler) {
  const auto cases = nlohmann::json::parse(golden_.metadata("cases"));
  for (const char* name : {"blocks", "remainders", "guided_blocks", "masks_in_prompt", "random",
                           "temperature", "predicts_masks"}) {
    SCOPED_TRACE(name);
    const auto& c = cases.at(name);
    const auto option = [&](const char* key) { return c.at(key).dump(); };
    const Tensor canvases = golden_[str(name, "/canvases")];  // [steps, prompts, T]
    const std::int64_t B = canvases.shape[1], T = canvases.shape[2];
    const Tokens expected =
        row_of(canvases.reshaped({canvases.shape[0] * B, T}), (canvases.shape[0] - 1) * B);
    const Tokens prompt = row_of(golden_[str(name, "/prompts")], 0);
    Arguments arguments = {"sample",
                           "--checkpoint",
                           checkpoint(c.at("weights")),
                           "--tokens",
                           words(prompt),
                           "--gen-length",
                           option("gen_length"),
                           "--steps",
                           option("steps"),
                           "--block-length",
                           option("block_length"),
                           "--cfg-scale",
                           option("cfg_scale"),
                           "--temperature",
                           option("temperature"),
                           "--remasking",
                           c.at("remasking"),
                           "--seed",
                           golden_.metadata("seed"),
                           "--ids"};
    const Tokens answer(expected.begin() + std::ptrdiff_t(prompt.size()), expected.end());
    EXPECT_EQ(output_of(arguments), words(answer) + "\n");
    arguments.emplace_back("--echo");
    EXPECT_EQ(output_of(arguments), words(expected) + "\n");
  }
}

TEST_F(SampleIds, CausalModelsAreReadFromLeftToRight) {
  const Tensor text = golden_["decode/0"];
  const Tokens all(text.as<std::int32_t>(), text.as<std::int32_t>() + text.count());
  const Tokens prompt(all.begin(), all.begin() + 4);
  EXPECT_EQ(output_of({"sample", "--checkpoint", checkpoint("causal"), "--tokens", words(prompt),
                       "--gen-length", "12", "--ids", "--echo"}),
            words(all) + "\n");
  Program warned({"sample", "--checkpoint", checkpoint("causal"), "--tokens", "1", "--gen-length",
                  "2", "--ids", "--cfg-scale", "1"});
  EXPECT_EQ(warned.wait(), 0);
  EXPECT_TRUE(contains(warned.err(), "change nothing"));
}

TEST_F(SampleIds, WithoutATokenizerThereAreOnlyIds) {
  const std::string k = checkpoint("plain");
  EXPECT_TRUE(fails({"sample", "--checkpoint", k}, 2, "--ids"));
  EXPECT_TRUE(fails({"sample", "--checkpoint", k, "--prompt", "a", "--ids"}, 2, "--tokens"));
  EXPECT_TRUE(fails({"sample", "--checkpoint", k, "--ids", "--show"}, 2, "tokenizer"));
}

TEST(SampleHelp, HasAnOptionForEveryFieldOfTheDecoding) {
  const std::string help = output_of({"sample", "--help"}),
                    tasks = output_of({"evaluate", "--help"});
  DecodingOptions any;
  DecodingOptions::fields(any, [&](auto&, std::string key, const char* meaning) {
    EXPECT_TRUE(contains(tasks, key)) << key;
    std::replace(key.begin(), key.end(), '_', '-');
    EXPECT_TRUE(contains(help, "--" + key)) << key;
    EXPECT_TRUE(contains(help, meaning)) << key;
  });
}

/// A model that knows four tokens, whatever it sees: two letters, half of a character, the end.
class SampleText : public ::testing::Test {
 protected:
  SampleText() {
    std::vector<double> logits(258, -1e4);
    logits['a'] = logits['\n'] = 2;
    logits[0xC3] = 1;
    logits[kByteEnd] = 0;
    Oracle oracle(logits);  // which has one more token, 258, not known to the tokenizer
    oracle.config.mask_token = kByteMask;
    oracle.config.max_seq_length = 300;
    std::vector<NamedTensor> tensors;
    for (const NamedWeight& w : oracle.weights.named()) tensors.push_back({w.name, w.tensor});
    save(checkpoint_, oracle.config, byte_tokenizer_json(), tensors);
  }
  Arguments sample(const Arguments& more) const {
    Arguments all = {"sample", "--checkpoint", checkpoint_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string text(const Arguments& more) const { return output_of(sample(more)); }

  Folder folder_;
  std::string checkpoint_ = folder_ / "k.h5";
};

/// The bytes of ids up to the end token.
std::string bytes_of(const std::string& ids) {
  std::istringstream in(ids);
  std::string text;
  for (int id; in >> id && id != kByteEnd;) text += char(id);
  return text;
}

TEST_F(SampleText, EndsAtTheEndToken) {
  const Arguments options = {"--gen-length", "40",     "--temperature", "1",
                             "--remasking",  "random", "--seed",        "5"};
  Arguments ids = options;
  ids.emplace_back("--ids");
  const std::string all = text(ids);
  EXPECT_EQ(std::count(all.begin(), all.end(), ' '), 39);
  EXPECT_TRUE(contains(all, "257")) << "this seed draws no end token; take another";
  const std::string expected = bytes_of(all);
  EXPECT_LT(expected.size(), 40u);
  EXPECT_GT(expected.size(), 2u);
  EXPECT_EQ(text(options), expected + "\n");
}

TEST_F(SampleText, EchoesThePromptAsItWasGiven) {
  EXPECT_EQ(text({"--prompt", "b\xff<|endoftext|>c ", "--gen-length", "1", "--echo"}),
            "b\xff<|endoftext|>c \n\n");
  // As text, when it was given as ids: the end token and one the tokenizer does not know are none.
  EXPECT_EQ(text({"--tokens", "98, 257\t99 258", "--gen-length", "1", "--echo"}), "bc\n\n");
}

TEST_F(SampleText, SamplesDifferAndTheFirstIsThatOfOne) {
  const Arguments options = {"--gen-length", "30", "--temperature", "1", "--prompt", "b"};
  Arguments three = options;
  three.insert(three.end(), {"--num-samples", "3"});
  const std::string one = text(options), all = text(three);
  EXPECT_TRUE(all.starts_with("--- sample 1 of 3 ---\n" + one + "\n--- sample 2 of 3 ---\n"));
  EXPECT_TRUE(contains(all, "\n--- sample 3 of 3 ---\n"));
  three.insert(three.end(), {"--ids", "--seed", "2"});
  std::istringstream lines(text(three));
  std::string a, b, c, rest;
  std::getline(lines, a);
  std::getline(lines, b);
  std::getline(lines, c);
  EXPECT_FALSE(std::getline(lines, rest));
  EXPECT_TRUE(a != b && b != c && a != c);
  // Shown, they are made one by one: the same.
  three.emplace_back("--show");
  EXPECT_EQ(text(three), lines.str());
}

TEST_F(SampleText, ShowsTheCanvasOnStandardErrorWithoutEscapes) {
  Program program(sample({"--gen-length", "4", "--show", "--prompt", "b"}));
  EXPECT_EQ(program.wait(), 0);
  const std::string shown = program.err();
  for (const char* line : {"step 1 of 4, 3 masked:\n", "step 2 of 4, 2 masked:\n",
                           "step 3 of 4, 1 masked:\n", "step 4 of 4:\nb"})
    EXPECT_TRUE(contains(shown, line));
  EXPECT_EQ(shown.find('\x1b'), std::string::npos);
  EXPECT_EQ(program.out().find('\x1b'), std::string::npos);
}

// Every prediction has probability 1 / (2 + 1/e + 1/e^2) = 0.3995: with a threshold of 0.3 one pass
// fills a block, with one of 1.1 each pass fills one token.
TEST_F(SampleText, SaysWhatItTook) {
  const std::string json = folder_ / "stats.json", map = folder_ / "steps.jsonl";
  const auto figures = [&](const std::string& threshold) {
    Program program(sample({"--gen-length", "8", "--prompt", "bc", "--strategy", "threshold",
                            "--threshold", threshold, "--cache", "dual", "--block-length", "4",
                            "--stats", "--stats-json", json, "--steps-map", map}));
    EXPECT_EQ(program.wait(), 0) << program.err();
    EXPECT_TRUE(contains(program.err(), "8 tokens in ")) << program.err();
    return nlohmann::json::parse(read_file(json));
  };
  nlohmann::json stats = figures("0.3");
  EXPECT_EQ(stats["passes"], 2);
  EXPECT_EQ(stats["rows"], 20);
  EXPECT_EQ(stats["logit_rows"], 8);
  EXPECT_EQ(stats["tokens"], 8);
  EXPECT_EQ(stats["refreshes"], 2);
  EXPECT_EQ(stats["tokens_per_pass"], 4);
  EXPECT_EQ(stats["steps"], 2);
  EXPECT_EQ(stats["tokens_per_step"], 4);
  EXPECT_GT(stats["ms_per_pass"], 0);
  EXPECT_GT(stats["tokens_per_second"], 0);
  nlohmann::json steps = nlohmann::json::parse(read_file(map));
  EXPECT_EQ(steps["step"], (Tokens{-1, -1, 0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(steps["tokens"].size(), 10u);
  stats = figures("1.1");
  EXPECT_EQ(stats["passes"], 8);
  EXPECT_EQ(stats["rows"], 2 * (10 + 3 * 4));
  steps = nlohmann::json::parse(read_file(map));
  EXPECT_EQ(steps["step"], (Tokens{-1, -1, 0, 1, 2, 3, 4, 5, 6, 7}));
  for (std::size_t i = 2; i < 10; ++i)
    EXPECT_NEAR(double(steps["probability"][i]), 1 / (2 + std::exp(-1) + std::exp(-2)), 1e-4);
}

TEST_F(SampleText, FillsGaps) {
  std::string filled = text({"--infill", "b{gap:3}c{gap:1}", "--ids"});
  EXPECT_EQ(filled, "98 10 10 10 99 10\n");
  filled = text({"--infill", "b{gap:2}c{gap}", "--ids", "--strategy", "threshold"});
  // Every token is as sure as any other: the first of the lengths.
  EXPECT_EQ(filled, "98 10 10 99 10\n");
}

TEST_F(SampleText, FillsTheSlotsOfASchema) {
  const std::string schema = folder_.write("schema.json", R"({"type": "object", "properties": {
      "n": {"type": "integer"}, "b": {"enum": [true, null]}}})");
  const std::string json =
      text({"--json-schema", schema, "--prompt", "b", "--temperature", "1", "--num-samples", "1"});
  EXPECT_TRUE(json.starts_with("{\"n\": ") && json.ends_with("}\n")) << json;
  EXPECT_TRUE(contains(json, ", \"b\": true}") || contains(json, ", \"b\": null}")) << json;
  Program piped(sample({"--json-schema", "/dev/stdin", "--prompt", "b", "--temperature", "1"}),
                RLIM_INFINITY, "", {"/bin/sh", "-c", "cat '" + schema + R"(' | "$0" "$@")"});
  EXPECT_EQ(piped.wait(), 0) << piped.err();
  EXPECT_EQ(piped.out(), json);
  const std::string absent = folder_ / "absent.json";
  EXPECT_TRUE(fails(sample({"--json-schema", absent}), 1, "lacuna: " + absent + ": No such file"));
  const std::string wrong = folder_.write("wrong.json", R"({"type": "string", "pattern": "a"})");
  EXPECT_TRUE(fails(sample({"--json-schema", wrong}), 1, "wrong.json: 'pattern'"));
  EXPECT_TRUE(fails(sample({"--json-schema", schema, "--gen-length", "9"}), 2, "--gen-length"));
  EXPECT_TRUE(
      fails(sample({"--json-schema", schema, "--strategy", "wino"}), 2, "--strategy wino takes"));
  EXPECT_TRUE(fails(sample({"--json-schema", schema, "--prompt", std::string(290, 'b')}), 2,
                    "model.max_seq_length is 300"));
}

TEST_F(SampleText, DefaultsSuitTheModel) {
  const auto count = [](const std::string& ids) {
    return std::count(ids.begin(), ids.end(), ' ') + 1;
  };
  EXPECT_EQ(count(text({"--ids"})), 128);
  EXPECT_EQ(count(text({"--ids", "--prompt", std::string(290, 'b')})), 10);
  EXPECT_EQ(text({"--ids"}), text({"--ids", "--gen-length", "128", "--steps", "128",
                                   "--block-length", "128", "--temperature", "0", "--remasking",
                                   "low_confidence", "--cfg-scale", "0", "--seed", "1"}));
}

TEST_F(SampleText, WrongOptionsAreNamed) {
  const auto wrong = [&](const Arguments& more, const std::string& part) {
    return fails(sample(more), 2, part);
  };
  EXPECT_TRUE(wrong({"--gen-length", "0"}, "--gen-length is 0"));
  EXPECT_TRUE(wrong({"--steps", "0"}, "--steps is 0"));
  EXPECT_TRUE(wrong({"--block-length", "-1"}, "--block-length is -1"));
  EXPECT_TRUE(wrong({"--gen-length", "301"}, "at most 300"));
  EXPECT_TRUE(wrong({"--gen-length", "many"}, "--gen-length"));
  EXPECT_TRUE(wrong({"--gen-length", "10", "--block-length", "3"}, "--block-length 3"));
  EXPECT_TRUE(wrong({"--gen-length", "10", "--block-length", "5", "--steps", "3"}, "--steps 3"));
  EXPECT_TRUE(wrong({"--temperature", "-0.1"}, "--temperature"));
  EXPECT_TRUE(wrong({"--temperature", "nan"}, "--temperature"));
  EXPECT_TRUE(wrong({"--cfg-scale", "-1"}, "--cfg-scale"));
  EXPECT_TRUE(wrong({"--remasking", "high"}, "low_confidence"));
  EXPECT_TRUE(wrong({"--seed", "-1"}, "--seed"));
  EXPECT_TRUE(wrong({"--seed", "18446744073709551616"}, "2^64"));
  EXPECT_TRUE(wrong({"--num-samples", "0"}, "--num-samples"));
  EXPECT_TRUE(wrong({"--threads", "-1"}, "--threads"));
  EXPECT_TRUE(wrong({"--tokens", "1 259"}, "'259'"));
  EXPECT_TRUE(wrong({"--tokens", "1", "--prompt", "a"}, "--tokens"));
  EXPECT_TRUE(wrong({"--prompt", std::string(300, 'b')}, "300 tokens"));
  EXPECT_TRUE(wrong({"--chat", "--ids"}, "--chat is a conversation"));
  EXPECT_TRUE(wrong({"--chat-template", "x"}, "--chat-template is for --chat"));
  EXPECT_TRUE(fails(sample({"--chat"}), 1, "has no <|start_header_id|>"));
  EXPECT_TRUE(wrong({"--sed", "1"}, "--sed"));
  EXPECT_TRUE(wrong({"--strategy", "fastest"}, "threshold"));
  EXPECT_TRUE(wrong({"--threshold", "-1"}, "--threshold is -1"));
  EXPECT_TRUE(wrong({"--cache", "all"}, "vicinity"));
  EXPECT_TRUE(wrong({"--remasking", "random", "--strategy", "wino"}, "--remasking random"));
  EXPECT_TRUE(wrong({"--infill", "a"}, "{gap}"));
  EXPECT_TRUE(wrong({"--infill", "a{gap:0}b"}, "N from 1 to 300"));
  EXPECT_TRUE(wrong({"--infill", "a{gap:9999}b"}, "N from 1 to 300"));
  EXPECT_TRUE(wrong({"--infill", "a{gapped}b"}, "{gapped}"));
  EXPECT_TRUE(wrong({"--infill", "a{gap:3"}, "no closing }"));
  EXPECT_TRUE(wrong({"--infill", "a{gap:200}b{gap:200}"}, "model.max_seq_length is 300"));
  EXPECT_TRUE(wrong({"--infill", "a{gap}", "--prompt", "a"}, "--prompt"));
  EXPECT_TRUE(fails({"sample"}, 2, "--checkpoint"));
  EXPECT_TRUE(fails({"sample", "--checkpoint", folder_ / "none"}, 1, "none"));
}

}  // namespace
}  // namespace lacuna
