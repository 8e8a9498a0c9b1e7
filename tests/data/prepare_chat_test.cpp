#include "data/prepare_chat.h"

#include <algorithm>

#include "core/philox.h"
#include "data/prepare_detail.h"
#include "data/sft_examples.h"
#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::byte_tokenizer;
using testing::contains;
using testing::error_of;
using testing::Folder;

const std::vector<std::string> kSpecials = {"<|mdm_mask|>",      "<|endoftext|>",
                                            "<|startoftext|>",   "<|start_header_id|>",
                                            "<|end_header_id|>", "<|eot_id|>"};

class PrepareChat : public ::testing::Test {
 protected:
  PrepareChat() {
    options_.tokenizer = folder_.write("tokenizer.json", byte_tokenizer(kSpecials));
    options_.output = folder_ / "train.h5";
    options_.threads = 2;
  }
  PrepareChatResult prepare(const std::string& lines, const ChatTemplate& chat = {}) {
    options_.inputs = {folder_.write("chat.jsonl", lines)};
    return prepare_chat(options_, chat);
  }
  std::string error(const std::string& lines) {
    return error_of([&] { prepare(lines); });
  }
  struct Example {
    std::string prompt, response;
  };
  std::vector<Example> examples(const std::string& path) const {
    const TokenFile file(path);
    file.verify();
    const Tokenizer tokenizer = Tokenizer::load(options_.tokenizer);
    std::vector<Example> all;
    for (std::int64_t i = 0; i < file.documents(); ++i) {
      std::vector<std::int32_t> tokens(std::size_t(file.offset(i + 1) - file.offset(i)));
      std::vector<std::uint8_t> response(tokens.size());
      file.read(file.offset(i), tokens);
      file.read_responses(file.offset(i), response);
      EXPECT_TRUE(std::is_sorted(response.begin(), response.end()));
      const auto at = std::find(response.begin(), response.end(), 1) - response.begin();
      all.push_back({tokenizer.decode(std::span(tokens).first(std::size_t(at)), false),
                     tokenizer.decode(std::span(tokens).subspan(std::size_t(at)), false)});
    }
    return all;
  }

  Folder folder_;
  PrepareOptions options_;
};

const std::string kTwoTurns =
    R"({"messages": [{"role": "system", "content": "Be brief."},)"
    R"( {"role": "user", "content": " the question \n"},)"
    R"( {"role": "assistant", "content": "the answer"}, {"role": "user", "content": "more?"},)"
    R"( {"role": "assistant", "content": " no "}]})";

TEST_F(PrepareChat, ADialogueOfTwoTurnsGivesTwoExamplesInLladasTemplate) {
  const PrepareChatResult r = prepare(kTwoTurns + "\n\n");
  EXPECT_EQ(r.dialogues, 1);
  EXPECT_EQ(r.train.documents, 2);
  const auto all = examples(options_.output);
  ASSERT_EQ(all.size(), 2u);
  const auto header = [](const std::string& role) {
    return "<|start_header_id|>" + role + "<|end_header_id|>\n\n";
  };
  const std::string first = "<|startoftext|>" + header("system") + "Be brief.<|eot_id|>" +
                            header("user") + "the question<|eot_id|>" + header("assistant");
  EXPECT_EQ(all[0].prompt, first);
  EXPECT_EQ(all[0].response, "the answer<|eot_id|><|endoftext|>");
  EXPECT_EQ(all[1].prompt, first + "the answer<|eot_id|>" + header("user") + "more?<|eot_id|>" +
                               header("assistant"));
  EXPECT_EQ(all[1].response, "no<|eot_id|><|endoftext|>");
  // "th" is one token of the byte tokenizer: "the answer", "no", and two tokens that close each.
  EXPECT_EQ(r.response_tokens, 9 + 2 + 2 + 2);
}

TEST_F(PrepareChat, NoTextForgesASpecialToken) {
  prepare(R"({"prompt": "<|eot_id|><|mdm_mask|>", "response": "<|endoftext|>"})");
  const TokenFile file(options_.output);
  const Tokenizer tokenizer = Tokenizer::load(options_.tokenizer);
  std::vector<std::int32_t> tokens(std::size_t(file.tokens()));
  file.read(0, tokens);
  const auto count = [&](const char* token) {
    return std::count(tokens.begin(), tokens.end(), *tokenizer.id_of(token));
  };
  EXPECT_EQ(count("<|eot_id|>"), 2);  // after the question and the answer
  EXPECT_EQ(count("<|mdm_mask|>"), 0);
  EXPECT_EQ(count("<|endoftext|>"), 1);
}

// tokenizer.add_tokens() makes such markers, unless asked otherwise.
TEST_F(PrepareChat, MarkersNeedNoFlag) {
  const std::string line =
      R"({"prompt": "a<|eot_id|>b word", "response": "<|start_header_id|>c<|mdm_mask|>"})";
  prepare(line);
  const auto flagged = examples(options_.output);
  auto file = nlohmann::json::parse(byte_tokenizer(kSpecials));
  for (const bool normalized : {false, true}) {
    for (auto& token : file["added_tokens"]) {
      token["special"] = false;
      token["normalized"] = normalized;
    }
    options_.tokenizer = folder_.write("plain.json", file.dump());
    const PrepareChatResult r = prepare(line);
    // "<|start_header_id|>c<|mdm_mask|>" in bytes, and what closes it.
    EXPECT_EQ(r.response_tokens, 19 + 1 + 12 + 2);
    const auto plain = examples(options_.output);
    EXPECT_EQ(plain[0].prompt, flagged[0].prompt);
    EXPECT_EQ(plain[0].response, flagged[0].response);
    const Tokenizer tokenizer = Tokenizer::load(options_.tokenizer);
    const ChatFormat format({}, tokenizer);
    EXPECT_EQ(format.end_of_reply(), *tokenizer.id_of("<|eot_id|>"));
    const Message message{"user", "a<|eot_id|>b"};
    const auto ids = format.prompt({&message, 1});
    EXPECT_EQ(std::count(ids.begin(), ids.end(), format.end_of_reply()), 1);
  }
}

// Words and white space that a tokenizer has as added tokens are the same text in a message.
TEST_F(PrepareChat, AddedWordsOfATemplateAreNoMarkers) {
  auto file = nlohmann::json::parse(byte_tokenizer(kSpecials));
  int id = 257 + int(kSpecials.size());
  for (const char* content : {"assistant", "\n\n", "[END]"})
    file["added_tokens"].push_back({{"id", id++},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", false}});
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "t.json");
  const ChatFormat format(
      parse_chat_template(R"({"begin": "", "message": "{role}\n\n{content}[END]",
                                                  "reply": "assistant\n\n"})",
                          "c.json"),
      tokenizer);
  EXPECT_EQ(format.end_of_reply(), id - 1);
  const Message message{"user", "an assistant\n\n[END] x"};
  const auto ids = format.prompt({&message, 1});
  const auto count = [&](int wanted) { return std::count(ids.begin(), ids.end(), wanted); };
  EXPECT_EQ(count(id - 3), 2);
  EXPECT_EQ(count(id - 2), 3);
  EXPECT_EQ(count(id - 1), 1);
}

TEST_F(PrepareChat, WhiteSpaceIsTrimmedAsTheTemplateDoes) {
  prepare(
      "{\"prompt\": \"\xe3\x80\x80hi\\u2028\", \"response\": \"\xc2\xa0yes\\u001c\"}\n"
      "{\"prompt\": \"a\", \"response\": \"\xe3\x80\x80\"}");
  const auto all = examples(options_.output);
  ASSERT_EQ(all.size(), 1u);  // a reply of white space is empty
  EXPECT_TRUE(contains(all[0].prompt, "\n\nhi<|eot_id|>"));
  EXPECT_EQ(all[0].response, "yes<|eot_id|><|endoftext|>");
}

TEST_F(PrepareChat, RepliesOfWeightZeroAreContextAlone) {
  const PrepareChatResult r = prepare(
      R"({"messages": [{"role": "user", "content": "a"},)"
      R"( {"role": "assistant", "content": "BAD", "weight": 0}, {"role": "user", "content": "c"},)"
      R"( {"role": "assistant", "content": "good", "weight": 1}], "id": 1, "source": "x"})");
  EXPECT_EQ(r.train.documents, 1);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::not_trained_on)], 1);
  EXPECT_TRUE(contains(r.first_skipped[2], "chat.jsonl:1: message 2"));
  EXPECT_EQ(r.ignored_keys, (std::set<std::string>{"id", "source"}));
  const auto all = examples(options_.output);
  EXPECT_TRUE(contains(all[0].prompt, "BAD<|eot_id|>"));
  EXPECT_EQ(all[0].response, "good<|eot_id|><|endoftext|>");
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b", "rejected": "c"})"),
                       "chat.jsonl:1: \"rejected\" of the record would be dropped"));
}

TEST_F(PrepareChat, AnArrayOfRecords) {
  prepare(R"([{"instruction": "a", "input": "", "output": "b"},)"
          "\n  {\n\"prompt\": \"c\",\n\"response\": \"d\"}\n]\n");
  const auto all = examples(options_.output);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].response, "d<|eot_id|><|endoftext|>");
  EXPECT_TRUE(contains(error("[{\"prompt\": \"a\", \"response\": \"b\"},\n{\n\"prompt\": 3}]"),
                       "chat.jsonl:2 (element 2 of the array): "));
  EXPECT_TRUE(contains(error("[{\"prompt\": \"a\", \"response\": \"b\"},\n{\n\"prompt\" 3}]"),
                       "chat.jsonl:2 (element 2 of the array): malformed JSON, line 2, column 10"));
  EXPECT_TRUE(contains(error("[[1]]"), "(element 1 of the array): is not a JSON object but array"));
  EXPECT_TRUE(contains(error("{\n\"prompt\": \"a\"\n}"), "a record of a JSONL file is one line"));
}

TEST_F(PrepareChat, SkipsAreCountedWithTheFirstPlace) {
  const PrepareChatResult r = prepare(
      R"({"prompt": "a", "response": "b"})"
      "\n"
      R"({"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]})"
      "\n"
      R"({"prompt": "a", "response": " \n "})"
      "\n"
      R"({"conversations": [{"from": "human", "value": "x"}, {"from": "human", "value": "y"}]})"
      "\n"
      R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": ""},)"
      R"( {"role": "user", "content": "v"}, {"role": "assistant", "content": "w"}]})"
      "\n");
  EXPECT_EQ(r.dialogues, 5);
  EXPECT_EQ(r.train.documents, 2);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::roles_out_of_order)], 2);
  EXPECT_EQ(r.skipped[std::size_t(ChatSkip::empty_response)], 2);
  EXPECT_TRUE(contains(r.first_skipped[0], "chat.jsonl:2: message 1 is the assistant's"));
  EXPECT_TRUE(contains(r.first_skipped[1], "chat.jsonl:3: message 2 is empty"));
}

TEST_F(PrepareChat, ATemplateOfOnesOwn) {
  ChatTemplate chat = parse_chat_template(
      R"({"begin": "", "message": "{role}: {content}\n", "reply": "assistant: "})", "t.json");
  prepare(R"({"prompt": "Hi {role}", "response": "Hello"})", chat);
  const auto all = examples(options_.output);
  EXPECT_EQ(all[0].prompt, "user: Hi {role}\nassistant: ");
  EXPECT_EQ(all[0].response, "Hello\n<|endoftext|>");
}

// As in the tokenizer_config.json of LLaDA, of Qwen3, of Dream and of Qwen2.5, shortened.
TEST(ChatTemplates, AreRecognisedByTheirMarkers) {
  const auto llada = recognised_template(
      "{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] "
      "+ "
      "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% endfor %}");
  ASSERT_TRUE(llada);
  EXPECT_EQ(llada->message, ChatTemplate{}.message);
  EXPECT_TRUE(llada->trims);
  const auto qwen3 = recognised_template(
      R"({%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + )"
      R"('<|im_end|>\n' }}{%- endif %}{{- '<|im_start|>' + message.role + '\n' + content + )"
      R"('<|im_end|>' + '\n' }})");
  ASSERT_TRUE(qwen3);
  EXPECT_EQ(qwen3->message, "<|im_start|>{role}\n{content}<|im_end|>\n");
  EXPECT_EQ(qwen3->reply, "<|im_start|>assistant\n");
  EXPECT_EQ(qwen3->system, "");
  EXPECT_FALSE(qwen3->trims);
  const auto dream = recognised_template(
      R"({% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a )"
      R"(helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + )"
      R"(message['content'] + '<|im_end|>' + '\n'}})");
  ASSERT_TRUE(dream);
  EXPECT_EQ(dream->system, "You are a helpful assistant.");
  EXPECT_FALSE(recognised_template("<role>{{ message['role'] }}</role>{{ message['content'] }}"));
  EXPECT_FALSE(
      recognised_template("{{- bos_token }}{%- set date_string = '26 Jul 2024' %}{{- "
                          "'<|start_header_id|>system<|end_header_id|>' }}<|eot_id|>"));
}

TEST(ChatTemplates, TheOptionGoesBeforeTheModelsOwn) {
  const std::string chatml = "<|im_start|><|im_end|>";
  EXPECT_EQ(load_chat_template("").message, ChatTemplate{}.message);
  EXPECT_EQ(load_chat_template("", chatml, "m").message, ChatTemplate::chatml().message);
  EXPECT_EQ(load_chat_template("llada", chatml, "m").message, ChatTemplate{}.message);
  EXPECT_EQ(load_chat_template("chatml", "<role>", "m").message, ChatTemplate::chatml().message);
  EXPECT_EQ(error_of([] { (void)load_chat_template("", "<role>", "m.h5"); }),
            "m.h5: its chat template is none that is known; give one with --chat-template: llada, "
            "chatml, or a file (docs/formats.md)");
}

TEST(ChatTemplates, ChatmlsSystemMessageIsAssumedWhereThereIsNone) {
  const Tokenizer tokenizer = Tokenizer::from_json(
      byte_tokenizer({"<|endoftext|>", "<|im_start|>", "<|im_end|>"}), "t.json");
  ChatTemplate chat = ChatTemplate::chatml();
  chat.system = "Help.";
  const auto text = [&](const std::vector<Message>& messages) {
    return tokenizer.decode(ChatFormat(chat, tokenizer).prompt(messages), /*skip_special=*/false);
  };
  EXPECT_EQ(text({{"user", " Hi "}}),
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(text({{"system", "Be brief."}, {"user", "Hi"}}),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(ChatFormat(chat, tokenizer).end_of_reply(), tokenizer.id_of("<|im_end|>"));
}

TEST_F(PrepareChat, TemplatesThatAreNone) {
  const auto refused = [](const std::string& json) {
    return error_of([&] { parse_chat_template(json, "t.json"); });
  };
  EXPECT_TRUE(contains(refused(R"({"mesage": ""})"),
                       "t.json: unknown key \"mesage\"; did you mean message?"));
  EXPECT_TRUE(
      contains(refused(R"({"message": "{rol} {content}"})"), "unknown field {rol}; a message has"));
  EXPECT_TRUE(contains(refused(R"({"message": "{role}"})"), "has no {content}"));
  EXPECT_TRUE(contains(refused(R"({"message": "{content}{content}"})"), "has {content} twice"));
  EXPECT_TRUE(contains(refused(R"({"begin": "{content}"})"), "begin: unknown field {content}"));
  EXPECT_TRUE(contains(refused(R"({"begin": 1})"), "begin is not a string"));
  EXPECT_TRUE(contains(refused("{"), "malformed JSON"));
  // LLaDA's template with a tokenizer that lacks its tokens.
  options_.tokenizer = folder_.write("plain.json", byte_tokenizer());
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b"})"), "has no <|start_header_id|>"));
}

TEST_F(PrepareChat, NamesWhatIsMalformedAndLeavesNothing) {
  EXPECT_TRUE(contains(error("{\"prompt\": \"a\", \"response\": \"b\"}\n{oops\n"),
                       "chat.jsonl:2: malformed JSON"));
  EXPECT_TRUE(
      contains(error("{\"prompt\": \"a\", \"response\": \"\"}\n"),
               "1 dialogue gave no example (" + folder_ / "chat.jsonl:1: message 2 is empty"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "train.h5"));
}

TEST_F(PrepareChat, ValidationTakesWholeDialogues) {
  options_.validation = folder_ / "validation.h5";
  options_.validation_fraction = 0.3;
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += kTwoTurns + "\n";
  const PrepareChatResult r = prepare(lines);
  EXPECT_EQ(r.train.documents + r.validation.documents, 120);
  EXPECT_EQ(r.validation.documents % 2, 0);
  std::int64_t drawn = 0;
  for (int i = 0; i < 60; ++i) drawn += held_out(i, 0.3, options_.seed);
  EXPECT_EQ(r.validation.documents, 2 * drawn);
}

TEST_F(PrepareChat, IsTheSameForAnyNumberOfThreads) {
  std::string lines;
  for (int i = 0; i < 50; ++i)
    lines += str(R"({"prompt": "p)", i, R"(", "response": "r)", i * i, "\"}\n");
  prepare(lines);
  const auto a = examples(options_.output);
  options_.threads = 1;
  prepare(lines);
  const auto b = examples(options_.output);
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].prompt, b[i].prompt);
    EXPECT_EQ(a[i].response, b[i].response);
  }
}

// --- examples for training -------------------------------------------------------------------

/// Documents of a prompt and a response of the given lengths; the tokens count on.
std::string write_examples(const Folder& folder, const std::vector<std::pair<int, int>>& lengths) {
  TokenFileWriter writer(folder / "x.h5", {100, 99, 98, "{}", true});
  int position = 0;
  for (const auto& [prompt, response] : lengths) {
    for (const auto& [count, is_response] : {std::pair(prompt, false), {response, true}}) {
      std::vector<std::int32_t> tokens;
      for (int i = 0; i < count; ++i) tokens.push_back(position++ % 90);
      writer.append(tokens, is_response);
    }
    writer.end_document();
  }
  writer.finish();
  writer.commit();
  return folder / "x.h5";
}

TEST(SftExamplesTest, LongPromptsAreCutAndCounted) {
  const Folder folder;
  const TokenFile file(write_examples(folder, {{3, 2}, {20, 4}, {1, 9}, {1, 10}, {0, 10}}));
  const SftExamples examples(file, 10, 1);
  EXPECT_EQ(examples.size(), 4);
  EXPECT_EQ(examples.cut_prompts(), 1);
  EXPECT_EQ(examples.left_out(), 1);
  EXPECT_EQ(examples.longest(), 10);
  EXPECT_EQ(examples.response_tokens(), 2 + 4 + 9 + 10);
  EXPECT_EQ(examples.at(0).tokens, (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(examples.at(0).prompt, 3);
  // Tokens 5 to 28: the last six of the prompt and the response.
  EXPECT_EQ(examples.at(1).tokens.front(), 19);
  EXPECT_EQ(examples.at(1).tokens.back(), 28);
  EXPECT_EQ(examples.at(1).prompt, 6);
  EXPECT_EQ(examples.at(3).prompt, 0);
}

TEST(SftExamplesTest, AnEpochDealsEveryExampleOnce) {
  const Folder folder;
  const TokenFile file(write_examples(folder, std::vector<std::pair<int, int>>(37, {2, 2})));
  const SftExamples examples(file, 8, 5);
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> dealt;
    for (std::int64_t i = 0; i < 37; ++i) dealt.push_back(examples.permuted(37 * epoch + i));
    EXPECT_FALSE(std::is_sorted(dealt.begin(), dealt.end()));
    std::sort(dealt.begin(), dealt.end());
    for (std::int64_t i = 0; i < 37; ++i) EXPECT_EQ(dealt[std::size_t(i)], i);
  }
  EXPECT_NE(examples.permuted(0) * 37 + examples.permuted(1),
            examples.permuted(37) * 37 + examples.permuted(38));
}

TEST(SftExamplesTest, WhatCannotBeUsed) {
  const Folder folder;
  testing::write_counting(folder / "text.h5", {5, 5});
  const TokenFile text(folder / "text.h5");
  EXPECT_FALSE(text.has_responses());
  EXPECT_TRUE(contains(error_of([&] { SftExamples(text, 8, 1); }), "--format chat"));
  const TokenFile file(write_examples(folder, {{3, 9}}));
  EXPECT_TRUE(contains(error_of([&] { SftExamples(file, 8, 1); }), "data.sequence_length = 8"));
  const TokenFile no_response(write_examples(folder, {{3, 0}}));
  EXPECT_TRUE(
      contains(error_of([&] { SftExamples(no_response, 8, 1); }), "document 0 is not a prompt"));
}

}  // namespace
}  // namespace lacuna
