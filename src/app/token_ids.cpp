#include "app/token_ids.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "core/check.h"

namespace lacuna {

std::vector<std::int32_t> parse_token_ids(const std::string& text, std::int64_t vocab_size,
                                          const char* option) {
  std::vector<std::int32_t> ids;
  const char* separators = " \t\r\n,";
  for (std::size_t at = text.find_first_not_of(separators); at != std::string::npos;
       at = text.find_first_not_of(separators, at)) {
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    const std::string word = text.substr(at, end - at);
    char* rest = nullptr;
    errno = 0;
    const long long id = std::strtoll(word.c_str(), &rest, 10);
    if (*rest != 0 || errno != 0 || id < 0 || id >= vocab_size)
      fail_usage(str(option, ": '", word, "' is not a token of the model; ids go from 0 to ",
                     vocab_size - 1));
    ids.push_back(std::int32_t(id));
    at = end;
  }
  return ids;
}

}  // namespace lacuna
