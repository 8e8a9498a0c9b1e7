#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>

#include "core/check.h"

namespace lacuna::testing {

inline constexpr std::int32_t kByteMask = 256, kByteEnd = 257;

/// tokenizer.json of a token for each byte, whose id is id_of(byte), <|mdm_mask|> and
/// <|endoftext|>.
inline std::string byte_tokenizer_json(const std::function<std::int32_t(int byte)>& id_of,
                                       std::int32_t mask, std::int32_t end) {
  // The characters that GPT-2's byte alphabet has for the bytes 0 to 255, as JSON escapes.
  const auto printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xFF && b != 0xAD);
  };
  std::string vocab, added;
  for (int byte = 0, next = 256; byte < 256; ++byte) {
    char name[16];
    std::snprintf(name, sizeof name, "\\u%04x", unsigned(printable(byte) ? byte : next++));
    vocab += str(byte ? "," : "", "\"", name, "\":", id_of(byte));
  }
  for (const auto& [id, text] :
       {std::pair(mask, "<|mdm_mask|>"), std::pair(end, "<|endoftext|>")}) {
    if (id < 256) vocab += str(",\"", text, "\":", id);  // not behind the bytes'
    added += str(added.empty() ? "" : ",", R"({"id":)", id, R"(,"content":")", text,
                 R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,)",
                 R"("special":true})");
  }
  return R"({"version":"1.0","added_tokens":[)" + added +
         R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)" +
         R"("trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":)" +
         R"("ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":)" +
         R"({"type":"BPE","vocab":{)" + vocab + R"(},"merges":[]}})";
}
/// The same where a byte's id is the byte.
inline std::string byte_tokenizer_json() {
  return byte_tokenizer_json([](int byte) { return byte; }, kByteMask, kByteEnd);
}

}  // namespace lacuna::testing
