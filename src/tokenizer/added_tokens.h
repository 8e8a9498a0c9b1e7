#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

/// A token that is found in a text by its characters, before the text is cut into words.
struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;      // marks structure rather than text
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = true;    // looked for in the normalized text
};

/// A stretch of a text: an added token with the white space it takes, or (id -1) what lies between.
struct Section {
  std::string_view text;
  std::int32_t id = -1;
};

/// Finds added tokens as Hugging Face's AddedVocabulary does: from left to right, at each place the
/// longest, none within another.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(const std::vector<AddedToken>& tokens);

  /// The sections of `text`, in order; together they are all of it. With `special_as_text`, special
  /// tokens are found and left as text (so nothing else is found inside them either).
  void find(std::string_view text, bool special_as_text, std::vector<Section>& sections) const;
  bool empty() const { return tokens_.empty(); }

 private:
  struct Node {
    std::int32_t token = -1;  // that ends here
    std::int32_t child = -1, sibling = -1;
    char byte = 0;
  };
  // The longest token that begins at text[at], or -1.
  std::int32_t longest(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<std::int32_t, 256> first_{};  // node of the first byte, or -1
};

}  // namespace lacuna
