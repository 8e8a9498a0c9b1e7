#pragma once
#include <cstdint>
#include <string>

namespace lacuna::testing {

/// Appends a value as a GGUF file has it.
template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void put_text(std::string& bytes, const std::string& text) {
  put(bytes, std::uint64_t(text.size()));
  bytes += text;
}
/// What a file begins with.
inline std::string gguf_start(std::uint64_t tensors, std::uint64_t keys,
                              std::uint32_t version = 3) {
  std::string bytes = "GGUF";
  put(bytes, version);
  put(bytes, tensors);
  put(bytes, keys);
  return bytes;
}

}  // namespace lacuna::testing
