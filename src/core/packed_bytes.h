#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace lacuna {

// Numbers and arrays as bytes, to be sent to a process of the same program: in the machine's own
// byte order, and trusted by the reader.

inline void pack(std::string& to, std::int64_t number) {
  to.append(reinterpret_cast<const char*>(&number), sizeof number);
}
/// Its length, then its elements.
template <class T>
void pack(std::string& to, std::span<const T> elements) {
  pack(to, std::int64_t(elements.size()));
  to.append(reinterpret_cast<const char*>(elements.data()), elements.size_bytes());
}
inline void pack(std::string& to, const std::string& text) { pack(to, std::span(text)); }

/// Reads what pack() wrote, in the same order.
class PackedReader {
 public:
  explicit PackedReader(std::string bytes) : bytes_(std::move(bytes)) {}
  bool at_end() const { return at_ == bytes_.size(); }
  std::int64_t number() {
    std::int64_t value = 0;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  template <class T>
  std::vector<T> array() {
    std::vector<T> elements(static_cast<std::size_t>(number()));
    const std::size_t bytes = elements.size() * sizeof(T);
    if (bytes > 0) std::memcpy(elements.data(), take(bytes), bytes);
    return elements;
  }
  std::string text() {
    const auto length = static_cast<std::size_t>(number());
    return {take(length), length};
  }

 private:
  const char* take(std::size_t bytes) {
    const char* begin = bytes_.data() + at_;
    at_ += bytes;
    return begin;
  }

  std::string bytes_;
  std::size_t at_ = 0;
};

}  // namespace lacuna
