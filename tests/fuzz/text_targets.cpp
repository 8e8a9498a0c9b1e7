#include <cstdlib>
#include <set>

#include "checkpoint/hugging_face.h"
#include "config/config.h"
#include "config/task.h"
#include "data/chat_template.h"
#include "data/corpus.h"
#include "data/dialogue.h"
#include "data/jsonl.h"
#include "evaluation/choices.h"
#include "evaluation/matching.h"
#include "evaluation/record.h"
#include "evaluation/task_text.h"
#include "tests/fuzz/targets.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"
#include "training/metrics.h"

namespace lacuna::fuzz {
namespace {

constexpr const char* kText =
    "It's 1,234 caf\xc3\xa9s \xe4\xbd\xa0\xe5\xa5\xbd\n\n  don\xe2\x80\x99t<|endoftext|>\xff z";

/// The part before the first NUL, and what follows.
std::pair<std::string, std::string> halves(std::string_view input) {
  const std::size_t at = input.find('\0');
  if (at == std::string_view::npos) return {std::string(input), kText};
  return {std::string(input.substr(0, at)), std::string(input.substr(at + 1))};
}

std::string joined(const std::string& first, const std::string& second) {
  return first + '\0' + second;
}

/// A tokenizer.json of the 256 bytes, a merge, and a special token.
std::string tokenizer_of_bytes() {
  std::string vocab;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = char(byte);
    std::string token = to_byte_alphabet({&c, 1});
    if (token == "\"" || token == "\\") token = "\\" + token;
    vocab += str('"', token, "\": ", byte, ", ");
  }
  return R"({"model": {"type": "BPE", "vocab": {)" + vocab +
         R"("ab": 256}, "merges": [["a", "b"]]}, "added_tokens": [
    {"id": 257, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true},
    {"id": 258, "content": "<|eot_id|>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true},
    {"id": 259, "content": "<|start_header_id|>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true},
    {"id": 260, "content": "<|end_header_id|>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split",
      "pattern": {"Regex": "\\p{L}+|\\s"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "decoder": {"type": "ByteLevel"}, "normalizer": {"type": "NFC"}, "post_processor": null})";
}

/// Whether all of it is UTF-8, as searches presume.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const unsigned a = byte(i), b = byte(i + 1);
    const std::size_t n = a < 0x80                ? 1
                          : a >= 0xc2 && a < 0xe0 ? 2
                          : a < 0xf0              ? 3
                          : a < 0xf5              ? 4
                                                  : 0;
    if (n == 0 || (a >= 0x80 && a < 0xc2)) return false;
    for (std::size_t k = 1; k < n; ++k)
      if ((byte(i + k) & 0xc0) != 0x80) return false;
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b >= 0xa0) || (a == 0xf0 && b < 0x90) ||
        (a == 0xf4 && b >= 0x90))
      return false;
    i += n;
  }
  return true;
}

}  // namespace

void read_tokenizer(std::string_view input) {
  tolerant([&] {
    const Tokenizer tokenizer = Tokenizer::from_json(std::string(input), "t");
    const auto ids = tokenizer.encode(kText);
    static_cast<void>(tokenizer.decode(ids));
    const ChatFormat format(ChatTemplate{}, tokenizer);
    const Message messages[] = {{"user", kText}};
    static_cast<void>(format.prompt(messages));
  });
}

void read_regex(std::string_view input) {
  const auto [pattern, text] = halves(input);
  if (!is_utf8(text)) return;
  tolerant([&, &p = pattern, &t = text] {
    const Regex regex(p);
    RegexScratch scratch;
    RegexMatches found(regex, t, scratch);
    std::size_t begin = 0, end = 0, last = 0;
    while (found.next(begin, end)) {
      if (begin > end || begin < last || end > t.size()) std::abort();
      last = end;
    }
  });
}

void read_config(std::string_view input) {
  tolerant([&] {
    const Config config = parse_config(std::string(input), "c.toml");
    // What is written is read as the same.
    if (parse_config(to_toml(config), "again") != config) std::abort();
    validate(config);
  });
  tolerant([&] { parse_stored_config(std::string(input), "c.h5"); });
}

void read_task(std::string_view input) {
  const std::string folder = folder_with("task.toml", input);
  tolerant([&] { lacuna::read_task(folder + "/task.toml"); });
}

void read_pattern(std::string_view input) {
  const auto [pattern, text] = halves(input);
  tolerant([&, &p = pattern, &t = text] {
    TaskSection task;
    task.match = MatchRule::regex;
    task.pattern = p;
    Matcher matches(task);
    matches(t, "x");
  });
}

void read_record(std::string_view input) {
  const auto [line, text] = halves(input);
  tolerant([&, &l = line, &t = text] {
    const Record record(l, "r:1");
    TaskSection task;
    tolerant([&] { record.list("choices"); });
    tolerant([&] { record.labelled("choices"); });
    tolerant([&] { record.text_or("question", "x"); });
    tolerant([&] { record.integer("answer"); });
    tolerant([&] { choices_of(task, record); });
    tolerant([&] { fill_in(t, record); });
    const std::string answer = record.text("answer");
    for (const MatchRule rule : {MatchRule::exact, MatchRule::substring, MatchRule::number}) {
      task.match = rule;
      Matcher matches(task);
      matches(t, answer);
    }
  });
}

void read_corpus(std::string_view input) {
  const std::string folder = folder_with("corpus", input);
  for (const CorpusFormat format : {CorpusFormat::text, CorpusFormat::jsonl})
    tolerant([&] {
      CorpusReader reader({folder + "/corpus"}, format,
                          [](std::string_view, std::size_t limit) { return limit; });
      CorpusPiece piece;
      while (reader.next(piece)) reader.place(piece);
    });
}

void read_dialogue(std::string_view input) {
  const std::string line(input);
  tolerant([&] {
    std::set<std::string> ignored;
    static_cast<void>(role_fault(parse_dialogue(line, "d:1", ignored)));
  });
  tolerant([&] { jsonl_text(line, "text", "d:1"); });
}

void read_chat_template(std::string_view input) {
  static const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_of_bytes(), "t");
  tolerant([&] {
    const ChatFormat format(parse_chat_template(std::string(input), "c.json"), tokenizer);
    const Message messages[] = {{"system", kText}, {"user", "<|eot_id|>"}};
    static_cast<void>(format.prompt(messages));
    static_cast<void>(format.reply(kText));
  });
}

void read_hugging_face_config(std::string_view input) {
  tolerant([&] {
    const std::string json(input);
    const ModelConfig model = model_config_from_hugging_face(json, "config.json");
    static_cast<void>(model_config_to_hugging_face(model, json));
  });
}

void read_metrics(std::string_view input) {
  const std::string folder = folder_with("metrics.jsonl", input);
  tolerant([&] { static_cast<void>(MetricsLog(folder + "/metrics.jsonl", 3).elapsed()); });
}

std::vector<std::string> tokenizer_seeds() {
  return {tokenizer_of_bytes(),
          R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}})"};
}

std::vector<std::string> regex_seeds() {
  return {joined("(?i:'s|'t|'re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|"
                 "\\s+(?!\\S)|\\s+",
                 kText),
          joined("(a|b)*c{2,}[^x-z]\\u{4e00}", "abcabc"), joined("[\\p{Lu}&&[^A]]+?", "aBc")};
}

std::vector<std::string> config_seeds() { return {to_toml(Config{})}; }

std::vector<std::string> task_seeds() {
  return {
      "[task]\nname = \"x\"\nkind = \"choices\"\ndata = \"d.jsonl\"\nprompt = \"{question}\"\n"
      "match = \"regex\"\npattern = '#### (-?\\d+)'\nshots = 2\n[sampling]\nsteps = 4\n"};
}

std::vector<std::string> record_seeds() {
  return {
      joined(R"({"question": "How many?", "choices": ["1", "2"], "answer": 1})",
             "{question} {{x}} {answer}"),
      R"({"answer": "$7{,}250", "x": 1.5e3, "y": null, "choices": {"text": ["a"], "label": ["A"]}})"};
}

std::vector<std::string> pattern_seeds() {
  return {joined("(?:.|\\n)*#### (-?\\d+)", "so #### 18"),
          joined("(?<a>\\w+)\\b(?=x)\\1{2,3}[^\\u4e00]", "aax")};
}

std::vector<std::string> corpus_seeds() {
  return {"a line\nanother\n", "{\"text\": \"a\"}\n{\"text\": \"b\\n\"}\n",
          "\xef\xbb\xbf[{\"text\": \"a\"},\n {\"text\": [1, {\"x\": \"]\"}]}]\n"};
}

std::vector<std::string> dialogue_seeds() {
  return {
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]})",
      R"({"prompt": "a", "response": "b", "system": null})",
      R"({"instruction": "a", "input": "", "output": "c"})",
      R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "text": "\ud83d\ude00"})"};
}

std::vector<std::string> chat_template_seeds() {
  return {
      R"({"begin": "<|endoftext|>", "message": "{role}: {content}<|endoftext|>", "reply": "assistant: "})"};
}

std::vector<std::string> hugging_face_config_seeds() {
  return {
      R"({"model_type": "llada", "n_layers": 2, "d_model": 8, "n_heads": 2, "n_kv_heads": 1, "mlp_ratio": 4,
    "mlp_hidden_size": 12, "max_sequence_length": 16, "vocab_size": 20, "embedding_size": 20, "rope_theta": 1e4,
    "rms_norm_eps": 1e-5, "weight_tying": false, "mask_token_id": 3, "eos_token_id": 1, "pad_token_id": 1,
    "block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": true, "alibi": false,
    "include_bias": false, "block_group_size": 1, "clip_qkv": null, "torch_dtype": "bfloat16"})",
      R"({"architectures": ["SDARForCausalLM"], "model_type": "sdar", "num_hidden_layers": 2, "hidden_size": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 12, "vocab_size": 20,
    "max_position_embeddings": 16, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "block_size": 4,
    "layer_types": ["full_attention", "full_attention"], "mask_token_id": 3, "eos_token_id": [1, 2]})"};
}

std::vector<std::string> metrics_seeds() {
  return {
      "{\"step\":1,\"loss\":2.5,\"elapsed\":0.5}\n{\"step\":2,\"validation_bound\":null}\n"
      "{\"step\":4,\"loss\":null}\n{\"step\":5"};
}

}  // namespace lacuna::fuzz
