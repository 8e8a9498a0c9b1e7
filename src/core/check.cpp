#include "core/check.h"

#include <cstdio>

namespace lacuna {

Error::Error(const std::string& what, Where at) : runtime_error(what), where(at) {}
UsageError::UsageError(const std::string& what, Where at) : Error(what, at) {}

void fail(const std::string& what, Where at) { throw Error(what, at); }
void fail_usage(const std::string& what, Where at) { throw UsageError(what, at); }

std::string joined(std::initializer_list<MessagePart> parts) {
  std::string text;
  for (const MessagePart& part : parts) {
    char digits[32];
    switch (part.kind_) {
      case MessagePart::Kind::text:
        text += part.text_;
        break;
      case MessagePart::Kind::character:
        text += part.character_;
        break;
      case MessagePart::Kind::number:
        std::snprintf(digits, sizeof digits, "%g", part.number_);
        text += digits;
        break;
      case MessagePart::Kind::integer:
        text += std::to_string(part.integer_);
        break;
      case MessagePart::Kind::whole:
        text += std::to_string(std::uint64_t(part.integer_));
        break;
      case MessagePart::Kind::value:
        text += part.value_.text(part.value_.value);
        break;
    }
  }
  return text;
}

}  // namespace lacuna
