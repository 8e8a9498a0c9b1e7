#pragma once
#include <string>
#include <string_view>

namespace lacuna {

/// Standard output, whose errors (a full disk) are Errors. (core/byte_reader.h reads standard
/// input.) To a file or pipe go the bytes themselves. To a terminal goes what is printable() of
/// them, because a model or a downloaded tokenizer may give any bytes, those of terminal commands
/// too.
class StandardOutput {
 public:
  StandardOutput();
  void write(std::string_view bytes);
  void flush();

 private:
  void put(std::string_view bytes);
  bool terminal_;
  std::string unfinished_;  // the beginning of a character whose other bytes are yet to come
};

}  // namespace lacuna
