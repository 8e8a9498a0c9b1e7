#include "app/standard_io.h"

#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

/// What comes out of standard output while `work` runs, when that is `descriptor`; read from
/// `from`.
std::string written(int descriptor, int from, const std::function<void()>& work) {
  std::fflush(stdout);
  const int before = dup(STDOUT_FILENO);
  dup2(descriptor, STDOUT_FILENO);
  close(descriptor);
  work();
  std::fflush(stdout);
  dup2(before, STDOUT_FILENO);
  close(before);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;) text.append(buffer, std::size_t(n));
  close(from);
  return text;
}
std::string on_terminal(const std::function<void()>& work) {
  int ours = -1, theirs = -1;
  CHECK(openpty(&ours, &theirs, nullptr, nullptr, nullptr) == 0, "no terminal to be had");
  return written(theirs, ours, work);
}
std::string in_pipe(const std::function<void()>& work) {
  int ends[2];
  CHECK(pipe(ends) == 0, "no pipe to be had");
  return written(ends[1], ends[0], work);
}

// A window title, a screen erased by a C1 control, text turned around, DEL, a byte that is no text.
const std::string kHostile =
    "a\x1b]0;owned\x07 \xc2\x9b"
    "2J\xe2\x80\xae\x7f\xff\n";

TEST(StandardOutput, GivesAPipeTheBytesThemselves) {
  EXPECT_EQ(in_pipe([] {
              StandardOutput out;
              out.write(kHostile);
              out.flush();
            }),
            kHostile);
}

TEST(StandardOutput, GivesATerminalNoCommands) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(on_terminal([] {
              StandardOutput out;
              out.write(kHostile);
              out.flush();
            }),
            "a\xe2\x90\x9b]0;owned\xe2\x90\x87 " + r + "2J" + r + "\xe2\x90\xa1" + r + "\r\n");
}

TEST(StandardOutput, ACharacterMayComeInPieces) {
  // In pieces as tokens are: euro sign, a smiling face, and what is never completed.
  const std::string text = "\xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x82";
  EXPECT_EQ(on_terminal([&] {
              StandardOutput out;
              for (const char byte : text) out.write(std::string(1, byte));
              out.flush();
            }),
            "\xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(on_terminal([] {
              StandardOutput out;
              out.write("\xc2");  // and then the rest of CSI
              out.write(
                  "\x9b"
                  "2J");
              out.flush();
            }),
            "\xef\xbf\xbd"
            "2J");
}

}  // namespace
}  // namespace lacuna::testing
