#pragma once
#include <string>
#include <string_view>

namespace lacuna {

/// Standard input as bytes, with a look ahead.
class StandardInput {
 public:
  /// The next bytes, without taking them: at least `bytes`, or all that are left. Valid until the
  /// next call. Throws Error when they cannot be read.
  std::string_view ahead(std::size_t bytes);
  /// Takes the next `bytes`, at most those that ahead() gave.
  std::string take(std::size_t bytes);

 private:
  std::string buffer_;
  std::size_t begin_ = 0;
  bool at_end_ = false;
};

/// Standard output, whose errors (a full disk) are Errors.
class StandardOutput {
 public:
  void write(std::string_view bytes);
  void flush();
};

}  // namespace lacuna
