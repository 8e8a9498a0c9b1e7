#include "app/decoding_arguments.h"

#include <algorithm>
#include <type_traits>

#include "core/check.h"

namespace lacuna {

std::string option_name(const std::string& field) {
  std::string name = "--" + field;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

void DecodingArguments::add_to(const Command& command, const std::string& length) {
  add_some_to(command, {}, "", length);
}

void DecodingArguments::add_some_to(const Command& command,
                                    const std::vector<std::string>& left_out,
                                    const std::string& before, const std::string& length) {
  DecodingOptions::fields(values_, [&](auto& field, const std::string& key, std::string meaning) {
    using Field = std::decay_t<decltype(field)>;
    const std::string name = option_name(key);
    if constexpr (std::is_same_v<Field, std::int64_t>) (void)lengths_[key];
    if constexpr (std::is_enum_v<Field>) words_[key] = word_of(field);
    if (std::find(left_out.begin(), left_out.end(), key) != left_out.end()) return;
    meaning = before + meaning;
    if constexpr (std::is_same_v<Field, std::int64_t>) {
      const bool is_length = key == "gen_length";
      if (is_length) meaning += "; by default " + length;
      command.add_option(is_length ? name + ",--max-tokens" : name, lengths_[key], meaning);
    } else if constexpr (std::is_enum_v<Field>) {
      command.add_option(name, words_[key], meaning).one_of(all_words<Field>()).show_default();
    } else if constexpr (std::is_same_v<Field, bool>) {
      command.add_flag(name, field, meaning);
    } else if constexpr (std::is_same_v<Field, std::uint64_t>) {
      command.add_option(name, field, meaning).whole_number().show_default();
    } else {
      command.add_option(name, field, meaning).show_default();
    }
  });
}

bool DecodingArguments::gives(const std::string& field) const {
  return lengths_.at(field).has_value();
}

DecodingOptions DecodingArguments::options(const DecodingOptions& defaults) const {
  std::map<std::string, std::int64_t> lengths;
  DecodingOptions::fields(defaults, [&](auto& field, const std::string& key, const char*) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, std::int64_t>) lengths[key] = field;
  });
  DecodingOptions result = values_;
  DecodingOptions::fields(result, [&](auto& field, const std::string& key, const char*) {
    using Field = std::decay_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, std::int64_t>) {
      const std::optional<std::int64_t>& given = lengths_.at(key);
      const bool may_be_0 = key == "refresh_every" || key == "vicinity";
      if (given == 0 && !may_be_0) fail_usage(option_name(key) + " is 0; it must be at least 1");
      field = given.value_or(lengths.at(key));
    } else if constexpr (std::is_enum_v<Field>) {
      field = parse_word<Field>(words_.at(key)).value();
    }
  });
  return result;
}

}  // namespace lacuna
