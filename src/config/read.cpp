#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "config/task.h"
#include "config/words.h"
#include "core/check.h"
#include "core/input_file.h"
#include "core/text.h"

namespace lacuna {
namespace {

std::string list_of(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

/// What stands in the file, for a message: "the string 'x'", "the integer 3".
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

/// Puts a TOML value into a field of the config; an Error says what was found and what is wanted.
class Assign {
 public:
  Assign(const toml::node& node, std::string where, std::string key)
      : node_(node), where_(std::move(where)), key_(std::move(key)) {}

  void operator()(std::int64_t& field) const {
    if (const auto* integer = node_.as_integer()) {
      field = **integer;
      return;
    }
    std::string hint;
    if (const auto* number = node_.as_floating_point())
      if (const double x = **number; std::floor(x) == x && std::fabs(x) < 0x1p53)
        hint = str("; write ", std::int64_t(x));
    wrong("an integer", hint);
  }
  void operator()(std::uint64_t& field) const {
    const auto* integer = node_.as_integer();
    if (!integer || **integer < 0) wrong("an integer, 0 or more");
    field = std::uint64_t(**integer);
  }
  void operator()(double& field) const {
    if (const auto* number = node_.as_floating_point())
      field = **number;
    else if (const auto* integer = node_.as_integer())
      field = double(**integer);
    else
      wrong("a number");
  }
  void operator()(StepCount& field) const {
    if (const auto* integer = node_.as_integer())
      field = **integer;
    else if (const auto* number = node_.as_floating_point())
      field = **number;
    else
      wrong("a number of steps, or a share of train.steps below 1.0");
  }
  void operator()(bool& field) const {
    const auto* boolean = node_.as_boolean();
    if (!boolean) wrong("true or false");
    field = **boolean;
  }
  void operator()(std::string& field) const {
    const auto* text = node_.as_string();
    if (!text) wrong("a string in quotes");
    field = **text;
  }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(E& field) const {
    if (const auto* text = node_.as_string()) {
      const auto& words = EnumWords<E>::words;
      for (int i = 0; i < int(std::size(words)); ++i)
        if (**text == words[i]) {
          field = E(i);
          return;
        }
    }
    wrong(words_of<E>());
  }

 private:
  [[noreturn]] void wrong(const std::string& wanted, const std::string& hint = "") const {
    fail_usage(str(where_, key_, " must be ", wanted, "; found ", described(node_), hint));
  }
  const toml::node& node_;
  std::string where_, key_;
};

// Root: Config or TaskConfig.

template <class Root>
std::vector<std::string> section_names_of() {
  std::vector<std::string> names;
  Root any;
  Root::sections(any, [&](auto&, const char* name) { names.emplace_back(name); });
  return names;
}

template <class Root>
std::vector<std::string> every_key() {
  std::vector<std::string> keys;
  Root any;
  Root::sections(any, [&](auto& section, const char*) {
    for (const std::string& key : keys_of<std::decay_t<decltype(section)>>()) keys.push_back(key);
  });
  return keys;
}

/// The section that has `key`, or "".
template <class Root>
std::string section_with(std::string_view key) {
  std::string found;
  Root any;
  Root::sections(any, [&](auto& section, const char* name) {
    for (const std::string& known : keys_of<std::decay_t<decltype(section)>>())
      if (known == key) found = name;
  });
  return found;
}

/// Calls use(field) for the field of that name. UsageError, beginning with `where`, when there is
/// none.
template <class Root, class Use>
void with_field(Root& config, const std::string& section_name, const std::string& key,
                const std::string& where, Use&& use) {
  bool found = false;
  std::vector<std::string> known;
  Root::sections(config, [&](auto& section, const char* name) {
    using Section = std::decay_t<decltype(section)>;
    if (section_name != name) return;
    known = keys_of<Section>();
    Section::fields(section, [&](auto& field, const char* field_name, const char*) {
      if (key != field_name) return;
      found = true;
      use(field);
    });
  });
  if (found) return;
  const std::string near = nearest(key, known), owner = section_with<Root>(key);
  const std::string far = nearest(key, every_key<Root>());
  fail_usage(where + "unknown key '" + key + "' in [" + section_name + "]" +
             (!owner.empty()  ? "; it belongs in [" + owner + "]"
              : !near.empty() ? "; the nearest known is '" + near + "'"
              : !far.empty()
                  ? "; the nearest known is '" + far + "' in [" + section_with<Root>(far) + "]"
                  : "; known are " + list_of(known)));
}

template <class Root>
void check_section(const std::string& name, const std::string& where) {
  const std::vector<std::string> known = section_names_of<Root>();
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  const std::string near = nearest(name, known), owner = section_with<Root>(name);
  fail_usage(where + "unknown section [" + name + "]" +
             (!owner.empty()  ? "; '" + name + "' is a key of [" + owner + "]"
              : !near.empty() ? "; the nearest known is [" + near + "]"
                              : "; known are " + list_of(known)));
}

/// toml++ sorts tables by key; in the order of the file, the first mistake is told first.
std::vector<std::pair<const toml::key*, const toml::node*>> in_file_order(
    const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, value] : table) entries.emplace_back(&key, &value);
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.first->source().begin < b.first->source().begin;
  });
  return entries;
}

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

/// The value of an override as a table with the one key "value".
toml::table parse_value(const std::string& value, const std::string& where) {
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

template <class Root>
Root parse_root(const std::string& text, const std::string& name) {
  Root config;
  const auto at = [&](const toml::source_region& region) {
    return str(name, ':', region.begin.line, ':', region.begin.column, ": ");
  };
  const toml::table table = parse_toml(text, name);
  for (const auto& [section_key, node] : in_file_order(table)) {
    const std::string section(section_key->str());
    check_section<Root>(section, at(section_key->source()));
    const toml::table* entries = node->as_table();
    if (!entries)
      fail_usage(str(at(section_key->source()), "[", section, "] must be a section; found ",
                     described(*node)));
    for (const auto& [key, value] : in_file_order(*entries))
      with_field(config, section, std::string(key->str()), at(key->source()),
                 [&, &k = key, &v = value](auto& field) {
                   Assign(*v, at(v->source()), str(section, '.', k->str()))(field);
                 });
  }
  return config;
}

template <class Root>
void override_root(Root& config, const std::string& override_text) {
  const std::string where = "--set " + override_text + ": ";
  const auto equals = override_text.find('=');
  const std::string name = trimmed(override_text.substr(0, equals));
  const auto dot = name.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot == 0 ||
      dot + 1 == name.size() || name.find('.', dot + 1) != std::string::npos)
    fail_usage(where + "must be section.key=value");
  const std::string section = name.substr(0, dot), key = name.substr(dot + 1);
  std::string value = trimmed(override_text.substr(equals + 1));
  check_section<Root>(section, where);
  with_field(config, section, key, where, [&](auto& field) {
    using Field = std::decay_t<decltype(field)>;
    constexpr bool is_word = std::is_same_v<Field, std::string> || std::is_enum_v<Field>;
    const bool quoted = value.starts_with('"') || value.starts_with('\'');
    if (is_word && !quoted) value = toml_string(value);
    const toml::table table = parse_value(value, where);
    Assign(*table.get("value"), where, name)(field);
  });
}

void validate_task(const TaskConfig& c, const std::string& path) {
  const TaskSection& t = c.task;
  const auto need = [&](bool holds, const std::string& what) {
    if (!holds) fail_usage(str(path, ": ", what));
  };
  const std::string type = word_of(t.type);
  need(!t.data.empty(), "task.data names no file");
  need(t.limit >= 0 && t.shots >= 0 && t.distractors >= 0 && t.gap_length >= 0,
       "task.limit, shots, distractors and gap_length must not be negative");
  need(t.type == TaskType::perplexity || !t.prompt.empty(), "task.prompt is empty");
  need(!t.answer.empty() || t.type == TaskType::infilling, "task.answer is empty");
  need(t.shots == 0 || !t.shots_data.empty(),
       str("task.shots = ", t.shots, " needs task.shots_data, where they come from"));
  need(t.shots == 0 || t.type == TaskType::multiple_choice || t.type == TaskType::generation,
       "task.shots is for multiple_choice and generation");
  need(t.group.empty() || t.type == TaskType::multiple_choice || t.type == TaskType::generation,
       "task.group is for multiple_choice and generation");
  need(t.match != MatchRule::regex || !t.pattern.empty(), "task.match = \"regex\" needs a pattern");
  need(t.type != TaskType::reversal || (!t.reverse_prompt.empty() && !t.reverse_answer.empty()),
       "task.type = \"reversal\" needs reverse_prompt and reverse_answer");
  need(c.likelihood.seed >= 0, "likelihood.seed must not be negative");
  need(c.likelihood.samples >= 1, "likelihood.samples must be at least 1");
  const auto named = [&](const std::string& field) { return "sampler." + field; };
  const bool generates =
      t.type == TaskType::generation || (t.type == TaskType::reversal && t.distractors == 0);
  try {
    if (generates)
      validate(c.sampler, named);
    else
      validate_values(c.sampler, named);
  } catch (const UsageError& e) {
    need(false, e.what());
  }
}

std::string text_of(const std::string& path) {
  try {
    return read_named_file(path);
  } catch (const Error& e) {
    fail_usage(e.what());
  }
}

}  // namespace

Config parse_config(const std::string& text, const std::string& name) {
  return parse_root<Config>(text, name);
}

void apply_override(Config& config, const std::string& override_text) {
  override_root(config, override_text);
}

Config read_config(const std::string& path, const std::vector<std::string>& overrides,
                   const std::function<std::string(Config&)>& complete) {
  Config config = parse_config(text_of(path), path);
  for (const std::string& override_text : overrides) apply_override(config, override_text);
  const std::string completed = complete ? complete(config) : "";
  try {
    validate(config);
  } catch (const UsageError& e) {
    fail_usage(path + completed + ": " + e.what());
  }
  return config;
}

TaskConfig read_task(const std::string& path, const std::vector<std::string>& overrides) {
  auto task = parse_root<TaskConfig>(text_of(path), path);
  for (const std::string& override_text : overrides) override_root(task, override_text);
  validate_task(task, path);
  return task;
}

}  // namespace lacuna
