#include "data/dialogue_keys.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/check.h"

namespace lacuna {
namespace {

using nlohmann::json;

// What says whether a message is trained on: OpenAI's "weight", axolotl's "train" and "training",
// ms-swift's "loss".
constexpr std::array<std::string_view, 4> kLearnKeys = {"weight", "train", "training", "loss"};

/// Keys that change what an example means, as OpenAI, TRL, axolotl, LLaMA-Factory, ms-swift and
/// public data sets have them.
struct Group {
  std::vector<std::string_view> keys;
  const char* why;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all = {
      {{"tools", "tool_calls", "tool_call", "tool_call_id", "tool_responses", "tool_results",
        "functions", "function", "function_call", "function_calls"},
       "tools and calls of them are not supported"},
      {{"image", "images", "image_url", "image_urls", "image_path", "image_paths", "img",
        "pixel_values", "video", "videos", "video_url", "audio", "audios", "audio_url",
        "input_audio", "attachments"},
       "the model sees text alone"},
      {{"reasoning_content", "reasoning", "thinking", "thinking_content", "thought", "thoughts",
        "chain_of_thought", "cot"},
       "reasoning is trained on as part of the content alone; put it there"},
      {{"mask",
        "masks",
        "masked",
        "loss_mask",
        "loss_masks",
        "loss_weight",
        "loss_weights",
        "loss_scale",
        "weights",
        "token_weights",
        "label_mask",
        "labels",
        "train_detail",
        "training_detail",
        "train_on_input",
        "train_on_inputs",
        "train_on_prompt",
        "train_on_turn",
        "mask_history",
        "mask_input",
        "mask_inputs",
        "assistant_mask",
        "assistant_masks",
        "completion_mask",
        "prompt_mask"},
       "of the loss, whole replies alone can be left out, by \"weight\": 0 of a message"},
      {{"chosen", "rejected", "chosen_response", "rejected_response", "rejected_messages",
        "preferred_output", "non_preferred_output"},
       "preferences between replies are for lacuna dpo; prepare them with --format preference"}};
  return all;
}

const std::vector<Group>& groups_of_records() {
  static const std::vector<Group> all = {
      {{"history", "context", "contexts", "documents", "system_prompt", "system_message", "suffix"},
       "it reads as part of the prompt; put it into the messages"},
      {{"chat_template", "chat_template_kwargs"}, "the template is that of --chat-template"}};
  return all;
}

const std::vector<Group>& groups_of_messages() {
  static const std::vector<Group> all = {{{"refusal", "prefix", "partial", "recipient", "channel"},
                                          "it changes what the message says, and to whom"}};
  return all;
}

bool holds_nothing(const json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() ||
         (value.is_structured() && std::all_of(value.begin(), value.end(), holds_nothing));
}

const char* reason_against(std::string_view key, const std::vector<Group>& among) {
  for (const Group& group : among)
    if (std::find(group.keys.begin(), group.keys.end(), key) != group.keys.end()) return group.why;
  return nullptr;
}

const char* reason_against(std::string_view key, const json& value, KeyLevel level) {
  // KTO's verdict on a completion; labels of other types are metadata.
  if (key == "label" || key == "kto_tag")
    return value.is_boolean() && !value.get<bool>() ? "the reply is marked as undesirable"
                                                    : nullptr;
  if (holds_nothing(value)) return nullptr;
  if (const char* why = reason_against(key, groups())) return why;
  if (level == KeyLevel::record) return reason_against(key, groups_of_records());
  return level == KeyLevel::message ? reason_against(key, groups_of_messages()) : nullptr;
}

bool is_learn_key(std::string_view key) {
  return std::find(kLearnKeys.begin(), kLearnKeys.end(), key) != kLearnKeys.end();
}

/// 0, 1, or -1 for another value.
int switch_of(const json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (!value.is_number()) return -1;
  const auto number = value.get<double>();
  return number == 0 ? 0 : number == 1 ? 1 : -1;
}

const char* holder(KeyLevel level) {
  constexpr const char* names[] = {"the record", "a message", "a part of a message"};
  return names[std::size_t(level)];
}

}  // namespace

void check_unread_keys(const json& object, const std::set<std::string_view>& read, KeyLevel level,
                       const std::string& place, std::set<std::string>& ignored) {
  constexpr const char* of[] = {"", " (of messages)", " (of parts)"};
  for (const auto& [key, value] : object.items()) {
    if (read.count(key) > 0 || value.is_null()) continue;
    if (is_learn_key(key)) {
      CHECK(level == KeyLevel::message || switch_of(value) == 1, place, ": \"", key, "\" of ",
            holder(level), " is not 1; messages of the assistant alone have one");
      continue;
    }
    const char* why = reason_against(key, value, level);
    CHECK(why == nullptr, place, ": \"", key, "\" of ", holder(level), " would be dropped: ", why);
    ignored.insert(key + of[std::size_t(level)]);
  }
}

bool is_trained_on(const json& message, bool of_assistant, const std::string& place) {
  bool learn = true;
  for (const std::string_view key : kLearnKeys) {
    const auto found = message.find(key);
    if (found == message.end() || found->is_null()) continue;
    const int value = switch_of(*found);
    CHECK(value >= 0, place, ": \"", key, "\" of a message is ", found->dump().substr(0, 40),
          "; it can be 0 or 1, false or true");
    CHECK(value == 0 || of_assistant, place, ": \"", key,
          "\" of a message that is not the assistant's: its replies alone are trained on");
    learn = learn && value == 1;
  }
  return learn;
}

}  // namespace lacuna
