#pragma once
#include <string_view>

namespace lacuna {

/// Standard output, whose errors (a full disk) are Errors. (core/byte_reader.h reads standard
/// input.)
class StandardOutput {
 public:
  void write(std::string_view bytes);
  void flush();
};

}  // namespace lacuna
