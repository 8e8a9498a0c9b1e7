#include "app/canvas_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/app/byte_tokenizer.h"
#include "tests/app/terminal.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::Folder;
using testing::Terminal;

using Lines = std::vector<std::string>;
using Tokens = std::vector<std::int32_t>;

constexpr std::int32_t A = 'a', B = 'b', kNewline = '\n', kUnknown = 300;
constexpr std::int32_t kMask = testing::kByteMask, kEnd = testing::kByteEnd;

class View : public ::testing::Test {
 protected:
  View() {
    config_.vocab_size = kUnknown + 1;
    config_.mask_token = kMask;
    config_.eos_token = kEnd;
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
  }
  /// A canvas that `steps` steps are to fill.
  void begin(CanvasView& view, const std::string& title, const Tokens& tokens,
             std::int64_t prompt_length, std::int64_t steps) {
    state_ = {.of = steps};
    state_.tokens = tokens;
    view.begin(title, prompt_length, state_);
  }
  void show(CanvasView& view, const Tokens& tokens, const Tokens& committed) {
    ++state_.done;
    state_.tokens = tokens;
    state_.committed = committed;
    view.show(state_);
  }
  DecodingStep state_;
  Tokenizer tokenizer_ = Tokenizer::from_json(testing::byte_tokenizer_json(), "test");
  ModelConfig config_;
};

TEST_F(View, RedrawsInPlace) {
  Terminal terminal(30, 10);
  std::fputs("$ lacuna sample\n", terminal.file());
  CanvasView view(terminal.file(), tokenizer_, config_);
  begin(view, "", Tokens{A, kMask, kMask, kMask}, 1, 3);
  EXPECT_EQ(terminal.lines(), (Lines{"$ lacuna sample", "a░░░", "step 0 of 3, 3 masked"}));
  show(view, {A, kMask, kNewline, kMask}, {2});
  EXPECT_EQ(terminal.lines(), (Lines{"$ lacuna sample", "a░↵", "░", "step 1 of 3, 2 masked"}));
  EXPECT_TRUE(testing::contains(terminal.received(), "\x1b[30;42m↵\x1b[0m"));
  show(view, {A, B, kNewline, kMask}, {1});
  EXPECT_EQ(terminal.lines(), (Lines{"$ lacuna sample", "ab", "░", "step 2 of 3, 1 masked"}));
  show(view, {A, B, kNewline, kEnd}, {3});
  EXPECT_EQ(terminal.lines(), (Lines{"$ lacuna sample", "ab", "∎", "step 3 of 3"}));
  view.end(false);
  EXPECT_EQ(terminal.lines(), (Lines{"$ lacuna sample"}));
  EXPECT_EQ(terminal.scrolled(), 0);
}

TEST_F(View, KeepsTheCanvasWithoutItsHighlights) {
  Terminal terminal(30, 10);
  CanvasView view(terminal.file(), tokenizer_, config_);
  begin(view, "sample 2 of 3", Tokens{kMask, kMask}, 0, 1);
  show(view, {A, B}, {0, 1});
  const std::size_t before = terminal.received().size();
  view.end(true);
  EXPECT_EQ(terminal.lines(), (Lines{"ab", "sample 2 of 3, step 1 of 1"}));
  EXPECT_EQ(terminal.received().substr(before).find("\x1b[30;42m"), std::string::npos);
  // The next one is drawn below it.
  begin(view, "", Tokens{kMask}, 0, 1);
  EXPECT_EQ(terminal.lines(),
            (Lines{"ab", "sample 2 of 3, step 1 of 1", "░", "step 0 of 1, 1 masked"}));
}

TEST_F(View, TokensThatAreNoText) {
  Terminal terminal(30, 10);
  CanvasView view(terminal.file(), tokenizer_, config_);
  // The bytes of a wide character one by one, and an id that the tokenizer does not know.
  begin(view, "", Tokens{kMask, kMask, kMask, kUnknown}, 0, 3);
  EXPECT_EQ(terminal.lines()[0], "░░░·");
  show(view, {0xE4, kMask, kMask, kUnknown}, {0});
  EXPECT_EQ(terminal.lines()[0], "\uFFFD░░·");
  show(view, {0xE4, 0xBD, kMask, kUnknown}, {1});
  EXPECT_EQ(terminal.lines()[0], "\uFFFD░·");
  show(view, {0xE4, 0xBD, 0xA0, kUnknown}, {2});
  EXPECT_EQ(terminal.lines()[0], "你·");
}

// Terminal fails at a line that is too long, and at a cursor above the screen.
TEST_F(View, NarrowTerminals) {
  for (const int columns : {3, 4, 7}) {
    Terminal terminal(columns, 20);
    CanvasView view(terminal.file(), tokenizer_, config_);
    Tokens tokens(12, kMask);
    begin(view, "", tokens, 0, 12);
    for (std::int32_t i = 0; i < 12; i += 3) {
      std::copy_n(Tokens{0xE4, 0xBD, 0xA0}.begin(), 3, tokens.begin() + i);  // 你
      show(view, tokens, {i, i + 1, i + 2});
      EXPECT_EQ(terminal.scrolled(), 0);
    }
    std::string text;
    Lines lines = terminal.lines();
    lines.pop_back();  // the status
    for (const std::string& line : lines) text += line;
    EXPECT_EQ(text, "你你你你") << columns;
    view.end(false);
    EXPECT_EQ(terminal.lines(), Lines{});
  }
}

TEST_F(View, ACanvasTallerThanTheTerminalScrollsToWhatIsFilled) {
  Terminal terminal(50, 6);  // four lines of canvas, the status, and the cursor's line
  std::fputs("$ lacuna sample\n", terminal.file());
  CanvasView view(terminal.file(), tokenizer_, config_);
  // Ten lines: each "a" but for line i, which gets filled with "b" in step i.
  Tokens tokens;
  for (int i = 0; i < 10; ++i) tokens.insert(tokens.end(), {kMask, A, kNewline});
  begin(view, "", tokens, 0, 10);
  EXPECT_EQ(terminal.lines(),
            (Lines{"░a", "░a", "░a", "░a", "step 0 of 10, 10 masked, lines 1-4 of 10"}));
  const int scrolled = terminal.scrolled();  // to make room, once
  EXPECT_EQ(scrolled, 1);
  for (std::int32_t i = 0; i < 10; ++i) {
    tokens[std::size_t(3 * i)] = B;
    show(view, tokens, {3 * i});
    const Lines lines = terminal.lines();
    ASSERT_EQ(lines.size(), 5u);
    // The line just filled is visible: the last that begins with b.
    EXPECT_TRUE(std::find(lines.begin(), lines.end(), "ba") != lines.end()) << i;
    const std::string range = i < 9 ? " masked, lines " : ", lines ";
    EXPECT_TRUE(testing::contains(lines[4], range));
    const auto first = std::stoi(lines[4].substr(lines[4].find("lines ") + 6)) - 1;
    for (int l = 0; l < 4; ++l)
      EXPECT_EQ(lines[std::size_t(l)], first + l <= i ? "ba" : "░a") << i << ' ' << l;
  }
  EXPECT_EQ(terminal.scrolled(), scrolled);
  view.end(false);
  EXPECT_EQ(terminal.lines(), Lines{});
}

TEST_F(View, NoColoursWhereTheyAreNotWanted) {
  setenv("NO_COLOR", "1", 1);
  Terminal terminal(30, 10);
  CanvasView view(terminal.file(), tokenizer_, config_);
  begin(view, "", Tokens{A, kMask}, 1, 1);
  show(view, {A, B}, {1});
  EXPECT_EQ(terminal.lines(), (Lines{"ab", "step 1 of 1"}));
  const std::string& bytes = terminal.received();
  for (std::size_t i = 0; (i = bytes.find('\x1b', i)) != std::string::npos; ++i)
    EXPECT_NE(bytes[bytes.find_first_not_of("0123456789;", i + 2)], 'm');
}

/// What a view writes into a file, or onto a terminal that can only print.
class PlainView : public View, public ::testing::WithParamInterface<bool> {
 protected:
  std::string written(const std::function<void(CanvasView&)>& use) {
    if (GetParam()) {
      setenv("TERM", "dumb", 1);
      Terminal terminal(120, 50);
      CanvasView view(terminal.file(), tokenizer_, config_);
      use(view);
      std::string text = terminal.received();
      std::erase(text, '\r');
      return text;
    }
    const Folder folder;
    std::FILE* file = std::fopen((folder / "out").c_str(), "w+");
    CanvasView view(file, tokenizer_, config_);
    use(view);
    std::string text(std::size_t(std::ftell(file)), '\0');
    std::rewind(file);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
    std::fclose(file);
    return text;
  }
};

TEST_P(PlainView, ShowsTheCanvasAtEachQuarterWithoutEscapes) {
  const std::string text = written([&](CanvasView& view) {
    Tokens tokens(8, kMask);
    begin(view, "sample 1 of 2", tokens, 0, 8);
    for (std::int32_t i = 0; i < 8; ++i) {
      tokens[std::size_t(i)] = i == 5 ? kNewline : A;
      show(view, tokens, {i});
    }
    view.end(false);
  });
  EXPECT_EQ(text,
            "sample 1 of 2, step 2 of 8, 6 masked:\naa░░░░░░\n\n"
            "sample 1 of 2, step 4 of 8, 4 masked:\naaaa░░░░\n\n"
            "sample 1 of 2, step 6 of 8, 2 masked:\naaaaa↵\n░░\n\n"
            "sample 1 of 2, step 8 of 8:\naaaaa\naa\n\n");
}

TEST_P(PlainView, FewStepsAreAllShown) {
  const std::string text = written([&](CanvasView& view) {
    begin(view, "", Tokens{A, kMask}, 1, 1);
    show(view, {A, B}, {1});
  });
  EXPECT_EQ(text, "step 1 of 1:\nab\n\n");
}

INSTANTIATE_TEST_SUITE_P(Output, PlainView, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "DumbTerminal" : "File"; });

}  // namespace
}  // namespace lacuna
