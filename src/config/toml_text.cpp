#include "config/toml_text.h"

#include <algorithm>
#include <sstream>

#include "config/words.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// The line on which a dotted key has more parts than any has here, or 0: toml++ makes a table of
/// each, and takes them apart by recursion.
int line_of_long_key(std::string_view text) {
  constexpr int most = 100;
  int line = 1, parts = 0;
  std::string_view quotes;  // of the string that is open
  bool comment = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    line += c == '\n';
    if (!quotes.empty()) {
      if (c == '\\' && quotes[0] == '"' && text.substr(i + 1, 1) != "\n")
        ++i;
      else if (text.substr(i).starts_with(quotes) || (quotes.size() == 1 && c == '\n'))
        i += std::exchange(quotes, {}).size() - 1;
    } else if (comment) {
      comment = c != '\n';
      if (!comment) parts = 0;
    } else if (c == '"' || c == '\'') {
      const std::string_view three = c == '"' ? R"(""")" : "'''";
      quotes = text.substr(i).starts_with(three) ? three : three.substr(0, 1);
      i += quotes.size() - 1;
    } else if (c == '#') {
      comment = true;
    } else if (c == '.') {
      if (++parts > most) return line;
    } else if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) {
      parts = 0;
    }
  }
  return 0;
}

}  // namespace

toml::table parse_toml(const std::string& text, const std::string& name) {
  if (const int line = line_of_long_key(text); line > 0)
    fail_usage(str(name, ':', line, ": a key has more than 100 parts; keys are section.key"));
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& e) {
    fail_usage(
        str(name, ':', e.source().begin.line, ':', e.source().begin.column, ": ", e.description()));
  }
}

toml::table parse_toml_value(const std::string& value, const std::string& where) {
  if (value.empty()) fail_usage(where + "has no value");
  if (line_of_long_key(value) > 0) fail_usage(where + "a key has more than 100 parts");
  try {
    toml::table table = toml::parse("value = " + value);
    if (table.size() == 1) return table;
  } catch (const toml::parse_error& e) {
    fail_usage(str(where, "'", value, "' is not a TOML value: ", e.description()));
  }
  fail_usage(where + "holds more than one value");
}

std::vector<std::pair<const toml::key*, const toml::node*>> in_file_order(
    const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, value] : table) entries.emplace_back(&key, &value);
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.first->source().begin < b.first->source().begin;
  });
  return entries;
}

std::string described(const toml::node& node) {
  std::ostringstream out;
  switch (node.type()) {
    case toml::node_type::string:
      out << "the string '" << **node.as_string() << '\'';
      break;
    case toml::node_type::integer:
      out << "the integer " << **node.as_integer();
      break;
    case toml::node_type::floating_point:
      out << "the number " << toml_value(**node.as_floating_point());
      break;
    case toml::node_type::boolean:
      out << "the boolean " << toml_value(**node.as_boolean());
      break;
    case toml::node_type::array:
      out << "a list";
      break;
    case toml::node_type::table:
      out << "a table";
      break;
    default:
      out << "a date or time";
  }
  return out.str();
}

std::vector<std::string> list_elements(std::string_view text, const std::string& where) {
  std::string rest = trimmed(std::string(text));
  if (rest.starts_with('[') && rest.ends_with(']')) rest = trimmed(rest.substr(1, rest.size() - 2));
  std::vector<std::string> elements;
  if (rest.empty()) return elements;
  std::string element;
  char quote = 0;
  for (const char c : rest + ",") {
    if (c == ',' && !quote) {
      elements.push_back(trimmed(std::exchange(element, {})));
      continue;
    }
    if (c == quote)
      quote = 0;
    else if (!quote && (c == '"' || c == '\''))
      quote = c;
    element += c;
  }
  if (quote) fail_usage(where + "a quote is not closed");
  for (const std::string& e : elements)
    if (e.empty()) fail_usage(where + "an element of the list is empty");
  return elements;
}

std::string comma_list(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

std::vector<std::string> comma_separated(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (std::string word = trimmed(text.substr(begin, end - begin)); !word.empty())
      words.push_back(std::move(word));
    begin = end + 1;
  }
  return words;
}

}  // namespace lacuna
