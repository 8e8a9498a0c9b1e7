#include "data/json_records.h"

#include <algorithm>
#include <string_view>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::size_t kLookAhead = std::size_t{1} << 16;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// Follows one JSON value from its first character to its end, brackets of either kind alike: what
/// they hold is the parser's to judge.
class ValueEnd {
 public:
  /// Whether the value ends before `c`.
  bool ends_before(char c) const { return bare_ && (c == ',' || c == ']' || is_space(c)); }
  /// Whether it ends with `c`.
  bool ends_with(char c) {
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
      return !in_string_ && depth_ == 0;
    }
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      return --depth_ <= 0;
    } else if (depth_ == 0) {
      bare_ = true;  // a number, true, false, null, or nothing that JSON knows
    }
    return false;
  }

 private:
  std::int64_t depth_ = 0;
  bool in_string_ = false, escaped_ = false, bare_ = false;
};

}  // namespace

JsonRecords::JsonRecords(ByteReader& input) : input_(input) {
  if (input_.ahead(kByteOrderMark.size()).starts_with(kByteOrderMark))
    input_.skip(kByteOrderMark.size());
  if (next_byte() != '[') return;
  array_ = true;
  input_.skip(1);
}

bool JsonRecords::next(Record& record) { return array_ ? next_element(record) : next_line(record); }

bool JsonRecords::next_line(Record& record) {
  for (std::size_t wanted = kLookAhead, searched = 0;;) {
    const std::string_view text = input_.ahead(wanted);
    if (text.empty()) return false;
    const std::size_t end = text.find('\n', searched);
    if (end == std::string_view::npos && text.size() >= wanted) {
      searched = text.size();
      wanted = 2 * searched;
      continue;
    }
    const std::int64_t line = line_;
    const std::size_t length = std::min(end, text.size());
    const bool blank = std::all_of(text.begin(), text.begin() + std::ptrdiff_t(length), is_space);
    if (!blank) record = {input_.take(length), line, 0};
    if (blank) input_.skip(length);
    if (end != std::string_view::npos) {
      input_.skip(1);
      ++line_;
    }
    if (!blank) return true;
    wanted = kLookAhead;
    searched = 0;
  }
}

int JsonRecords::next_byte() {
  for (;;) {
    const std::string_view text = input_.ahead(kLookAhead);
    if (text.empty()) return -1;
    const auto found = std::find_if_not(text.begin(), text.end(), is_space);
    line_ += std::count(text.begin(), found, '\n');
    const int byte = found == text.end() ? -1 : static_cast<unsigned char>(*found);
    input_.skip(std::size_t(found - text.begin()));
    if (byte >= 0) return byte;
  }
}

std::size_t JsonRecords::element_length() {
  ValueEnd value;
  std::size_t at = 0;
  for (std::size_t wanted = kLookAhead;; wanted *= 2) {
    const std::string_view text = input_.ahead(wanted);
    for (; at < text.size(); ++at) {
      if (value.ends_before(text[at])) return at;
      if (value.ends_with(text[at])) return at + 1;
    }
    if (text.size() < wanted) {
      ended_ = true;  // and what is wrong, the element's parser knows best
      return at;
    }
  }
}

bool JsonRecords::next_element(Record& record) {
  int byte = next_byte();
  if (ended_) {
    if (byte >= 0) refuse("text follows the end of the array of records");
    return false;
  }
  if (byte == ']') {
    input_.skip(1);
    ended_ = true;
    return next_element(record);
  }
  if (element_ > 0) {
    if (byte < 0) refuse("the array of records has no end (\"]\")");
    if (byte != ',') refuse("between two elements of the array of records there is no comma");
    input_.skip(1);
    byte = next_byte();
  }
  if (byte < 0) refuse("the array of records has no end (\"]\")");
  if (byte == ',' || byte == ']') refuse("an element of the array of records is missing");
  const std::int64_t line = line_;
  record = {input_.take(element_length()), line, ++element_};
  line_ += std::count(record.json.begin(), record.json.end(), '\n');
  return true;
}

void JsonRecords::refuse(const char* what) const {
  fail(str(input_.name(), ":", line_, ": malformed JSON, ", what));
}

}  // namespace lacuna
