// Fine-tuning from dialogues to a conversation, as a user runs it: prepare, sft, sample --chat,
// score, evaluate.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "core/atomic_file.h"
#include "formats/hdf5.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/weights.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/program.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// The byte tokenizer with the tokens of LLaDA's chat template.
std::string chat_tokenizer() {
  nlohmann::json json = nlohmann::json::parse(byte_tokenizer_json());
  int id = kByteEnd;
  for (const char* token :
       {"<|startoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"})
    json["added_tokens"].push_back({{"id", ++id},
                                    {"content", token},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  return json.dump();
}

const std::vector<std::pair<std::string, std::string>> kFacts = {
    {"sky", "blue"}, {"sun", "gold"}, {"sea", "teal"}, {"fig", "plum"}};

/// A model that has learned four facts by heart; made once, for all tests.
class SftProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new Folder;
    const std::string tokenizer = folder_->write("tokenizer.json", chat_tokenizer());
    std::string lines;
    for (const auto& [what, colour] : kFacts)
      lines += R"({"prompt": ")" + what + R"(", "response": ")" + colour + "\"}\n";
    const std::string data = folder_->write("facts.jsonl", lines);
    prepared_ = output_of({"prepare", "--tokenizer", tokenizer, "--input", data, "--format", "chat",
                           "--output", at("facts.h5")});
    save_untrained(tokenizer);
    const std::string config = folder_->write("c.toml", "[data]\ntrain = \"" + at("facts.h5") +
                                                            "\"\nsequence_length = 48\n"
                                                            "[train]\noutput = \"" +
                                                            at("run") +
                                                            "\"\nsteps = 250\nbatch_size = 8\n"
                                                            "micro_batch_size = 8\n"
                                                            "eval_every = 0\nlog_every = 50\n"
                                                            "checkpoint_every = 0\n[optimizer]\n"
                                                            "learning_rate = 1e-2\n"
                                                            "min_learning_rate = 1e-3\n"
                                                            "warmup_steps = 10\ndecay_steps = 100\n"
                                                            "weight_decay = 0.0\n");
    trained_ = output_of({"sft", "--config", config, "--init", at("base.h5")});
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string at(const std::string& name) { return *folder_ / name; }
  static std::string output_of(const std::vector<std::string>& arguments,
                               const std::string& input = "") {
    Program program(arguments, RLIM_INFINITY, input);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return program.out();
  }
  static void save_untrained(const std::string& tokenizer) {
    Config config;
    config.model.vocab_size = 262;
    config.model.num_layers = 2;
    config.model.hidden_size = 32;
    config.model.num_heads = 2;
    config.model.intermediate_size = 64;
    config.model.max_seq_length = 48;
    config.model.mask_token = kByteMask;
    config.model.eos_token = kByteEnd;
    CpuOps ops(1);
    ModelTensors weights(ops.memory(), config.model, "weights");
    initialise(weights, config.model, 3, ops);
    CheckpointInfo info;
    info.config = to_toml(config);
    info.tokenizer = read_file(tokenizer);
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights.named()) tensors.model.push_back({w.name, w.tensor});
    save_checkpoint(at("base.h5"), info, tensors);
  }

  static inline Folder* folder_ = nullptr;
  static inline std::string prepared_, trained_;
};

TEST_F(SftProgram, PrepareTellsWhatItMade) {
  EXPECT_TRUE(contains(prepared_, "4 examples"));
  EXPECT_TRUE(contains(prepared_, "of 4 dialogues"));
  // Four letters, <|eot_id|> and <|endoftext|> each.
  EXPECT_TRUE(contains(prepared_, "24 tokens are responses"));
  EXPECT_TRUE(contains(trained_, "done: step 250 of 250"));
}

TEST_F(SftProgram, ATraceOfTheFirstStep) {
  std::vector<std::string> arguments = {
      "sft",   "--config",      at("c.toml"), "--set",       "train.output=" + at("traced"),
      "--set", "train.steps=1", "--init",     at("base.h5"), "--trace"};
  auto refused = arguments;
  refused.push_back(at("none/trace.h5"));
  EXPECT_TRUE(fails(refused, 2, "there is no folder"));
  arguments.push_back(at("trace.h5"));
  output_of(arguments);
  const h5::File trace = h5::File::open(at("trace.h5"));
  EXPECT_EQ(trace.string_attribute("format"), "lacuna-trace");
  EXPECT_EQ(trace.shape("/offsets"), Shape{9});
  EXPECT_EQ(trace.shape("/response"), trace.shape("/clean"));
}

// The template begins every example with <|startoftext|>, and the export asks llama.cpp to do
// likewise.
TEST_F(SftProgram, TheStartTokenIsNotedInTheCheckpointAndExported) {
  const auto noted = [](const std::string& checkpoint) {
    return output_of({"inspect", "--config", checkpoint});
  };
  EXPECT_TRUE(contains(noted(at("base.h5")), "add_bos_token = false"));
  EXPECT_TRUE(contains(noted(at("run")), "add_bos_token = true"));
  const std::string key = "tokenizer.ggml.add_bos_token";
  for (const auto& [checkpoint, adds] : {std::pair{at("base.h5"), 0}, {at("run"), 1}}) {
    output_of({"export", "--checkpoint", checkpoint, "--format", "gguf", "--output", at("m.gguf")});
    const std::string gguf = read_file(at("m.gguf"));
    EXPECT_EQ(gguf.at(gguf.find(key) + key.size() + 4), char(adds));
  }
}

TEST_F(SftProgram, ChatAnswers) {
  const std::vector<std::string> chat = {
      "sample", "--checkpoint", at("run"), "--chat", "--gen-length", "6", "--threads", "1"};
  for (const auto& [what, colour] : kFacts) {
    auto arguments = chat;
    arguments.insert(arguments.end(), {"--prompt", what});
    EXPECT_EQ(output_of(arguments), colour + "\n");
  }
  // A conversation; the second question begins a new one, as none was learned with a history.
  EXPECT_EQ(output_of(chat, folder_->write("lines", "sun\n\n/new\nsea\n/quit\nsky\n")),
            "gold\nteal\n");
}

TEST_F(SftProgram, ChatForgetsTheOldestTurnsWhenTheyDoNotFit) {
  // 48 tokens, of which a turn takes some 20: the third question has room for one turn before it.
  Program program(
      {"sample", "--checkpoint", at("run"), "--chat", "--gen-length", "6", "--threads", "1"},
      RLIM_INFINITY, folder_->write("many", "sun\nsea\nsky\n"));
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_TRUE(contains(program.err(), "no longer fit"));
  EXPECT_TRUE(
      fails({"sample", "--checkpoint", at("run"), "--chat", "--prompt", std::string(60, 'x')}, 1,
            "there is room for"));
}

TEST_F(SftProgram, ScoreIsLowForWhatWasLearned) {
  const std::string prompt =
      "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nsky<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n";
  const auto nats = [&](const std::string& checkpoint, const std::string& text) {
    const auto json = nlohmann::json::parse(
        output_of({"score", "--checkpoint", checkpoint, "--prompt", prompt, "--text", text,
                   "--samples", "32", "--json", "--threads", "1"}));
    EXPECT_EQ(json["tokens"], 5);  // 4 letters and <|eot_id|>: the line ends are of the prompt
    EXPECT_EQ(json["samples"], 32);
    return json["nats"].get<double>();
  };
  // Untrained: about 5 ln 262 = 28 nats.
  EXPECT_LT(nats(at("run"), "blue<|eot_id|>") + 10, nats(at("base.h5"), "blue<|eot_id|>"));
  EXPECT_LT(nats(at("run"), "blue<|eot_id|>") + 5, nats(at("run"), "gold<|eot_id|>"));
}

TEST_F(SftProgram, ScoreOfAFileAndItsMistakes) {
  const std::string lines = "{\"text\": \"blue\"}\n\n{\"prompt\": \"sky\", \"text\": \" blue\"}\n";
  const std::vector<std::string> score = {"score", "--checkpoint", at("run"), "--samples",
                                          "4",     "--threads",    "1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), score.begin(), score.end());
    return more;
  };
  const std::string out =
      output_of(with({"--input", folder_->write("texts.jsonl", lines), "--json"}));
  const auto first = nlohmann::json::parse(out.substr(0, out.find('\n')));
  EXPECT_EQ(first["tokens"], 4);
  EXPECT_NEAR(first["bits_per_byte"].get<double>(), first["nats"].get<double>() / std::log(2.0) / 4,
              1e-9);
  EXPECT_TRUE(contains(output_of(with({"--tokens", "1 2 3"})), "3 tokens"));
  EXPECT_TRUE(fails(with({}), 2, "give what is to be scored"));
  EXPECT_TRUE(fails(with({"--tokens", "1 999"}), 2, "'999'"));
  EXPECT_TRUE(
      fails(with({"--prompt-tokens", "262", "--tokens", "1"}), 2, "--prompt-tokens: '262'"));
  EXPECT_TRUE(fails(with({"--input", folder_->write("bad.jsonl", "{\"text\": \"a\"}\n{]\n")}), 1,
                    "bad.jsonl:2: malformed JSON"));
  EXPECT_TRUE(
      fails(with({"--input",
                  folder_->write("long.jsonl", "{\"text\": \"" + std::string(49, 'a') + "\"}")}),
            1, "long.jsonl:1: 49 tokens; the model takes at most 48"));
}

TEST_F(SftProgram, Evaluate) {
  std::string records, infill;
  for (const auto& [what, colour] : kFacts) {
    records += R"({"what": ")" + what + R"(", "colour": ")" + colour +
               R"(", "choices": ["blue", "gold", "teal", "plum"]})"
               "\n";
    infill += R"({"text": "a {gap} b", "answers": [")" + colour + "\"]}\n";
  }
  folder_->write("facts_task.jsonl", records);
  folder_->write("infill.jsonl", infill);
  const auto task = [&](const std::string& name, const std::string& lines) {
    return folder_->write(name + ".toml", "[task]\n" + lines +
                                              "data = \"facts_task.jsonl\"\nprompt = \"{what}\"\n"
                                              "chat = true\nanswer = \"{colour}\"\n"
                                              "[sampler]\ngen_length = 6\n"
                                              "[likelihood]\nsamples = 16\n");
  };
  const std::string generation = task("generation", "type = \"generation\"\nmatch = \"exact\"\n");
  const std::string choice = task("choice", "choice_prefix = \"\"\n");
  const std::string reversal = task("reversal",
                                    "type = \"reversal\"\nreverse_prompt = \"{colour}\"\n"
                                    "reverse_answer = \"{what}\"\ndistractors = 3\n"
                                    "choice_prefix = \"\"\n");
  const std::string gaps = folder_->write(
      "gaps.toml", "[task]\ntype = \"infilling\"\ndata = \"infill.jsonl\"\nprompt = \"{text}\"\n");
  const std::string bits =
      folder_->write("bits.toml",
                     "[task]\ntype = \"perplexity\"\ndata = \"facts_task.jsonl\"\n"
                     "answer = \"{colour}\"\n[likelihood]\nsamples = 4\n");
  const std::string table =
      output_of({"evaluate", generation, choice, reversal, gaps, bits, "--checkpoint", at("run"),
                 "--json", at("out.json"), "--outcomes", at("outcomes.jsonl"), "--threads", "1"});
  EXPECT_TRUE(contains(table, "generation"));
  const auto json = nlohmann::json::parse(read_file(at("out.json")));
  std::map<std::string, double> value;
  for (const auto& t : json["tasks"])
    for (const auto& m : t["metrics"])
      value[t["name"].get<std::string>() + "/" + m["name"].get<std::string>()] = m["value"];
  EXPECT_EQ(value.at("generation/accuracy"), 1);
  EXPECT_EQ(value.at("choice/acc"), 1);
  EXPECT_EQ(value.at("reversal/forward"), 1);
  EXPECT_EQ(value.count("reversal/reverse"), 1u);
  EXPECT_EQ(value.count("gaps/gaps"), 1u);
  EXPECT_GT(value.at("bits/bits_per_byte"), 0);
  EXPECT_EQ(json["model"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_TRUE(contains(json["tasks"][0]["settings"].get<std::string>(), "gen_length = 6"));
  EXPECT_TRUE(contains(read_file(at("outcomes.jsonl")), "\"right\":true"));
  // Again: the same to the last digit.
  output_of({"evaluate", generation, choice, "--checkpoint", at("run"), "--json", at("again.json"),
             "--threads", "1"});
  const auto again = nlohmann::json::parse(read_file(at("again.json")));
  EXPECT_EQ(again["tasks"][1]["metrics"], json["tasks"][1]["metrics"]);
  EXPECT_EQ(again["model"]["sha256"], json["model"]["sha256"]);
}

TEST_F(SftProgram, MistakesInTasks) {
  folder_->write("two.jsonl",
                 "{\"q\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 1}\n"
                 "{\"q\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": \"z\"}\n");
  const auto wrong = [&](const std::string& text, int code, const std::string& part) {
    return fails({"evaluate", folder_->write("wrong.toml", "[task]\n" + text), "--checkpoint",
                  at("run"), "--threads", "1"},
                 code, part);
  };
  const std::string good = "data = \"two.jsonl\"\nprompt = \"{q}\"\n";
  EXPECT_TRUE(wrong("", 2, "task.data names no file"));
  EXPECT_TRUE(
      wrong("promt = \"\"", 2, "wrong.toml:2:1: unknown key 'promt' in [task]; the nearest"));
  EXPECT_TRUE(wrong("type = \"quiz\"", 2, "task.type must be"));
  EXPECT_TRUE(wrong("data = \"none.jsonl\"\nprompt = \"x\"", 1, "none.jsonl"));
  EXPECT_TRUE(wrong("data = \"two.jsonl\"\nprompt = \"{question}\"", 1,
                    "two.jsonl:1: has no field \"question\""));
  EXPECT_TRUE(wrong(good, 1, "two.jsonl:2: the answer \"z\" is none of its choices"));
  EXPECT_TRUE(wrong(good + "shots = 2", 2, "needs task.shots_data"));
  EXPECT_TRUE(wrong(good + "type = \"generation\"\nmatch = \"regex\"", 2, "needs a pattern"));
  EXPECT_TRUE(wrong(good + "type = \"reversal\"", 2, "reverse_prompt"));
}

TEST_F(SftProgram, MistakesOfFineTuning) {
  const std::string config = folder_->write(
      "bad.toml", "[data]\ntrain = \"" + at("facts.h5") + "\"\nsequence_length = 48\n");
  EXPECT_TRUE(fails({"sft", "--config", config}, 2, "give --init"));
  EXPECT_TRUE(fails({"sft", "--config", config, "--init", at("none.h5")}, 1, "none.h5"));
  EXPECT_TRUE(
      fails({"sft", "--config", config, "--init", at("base.h5"), "--set", "sft.pad_loss=maybe"}, 2,
            "eos or none"));
}

}  // namespace
}  // namespace lacuna
