#pragma once
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"

namespace lacuna::testing {

/// A terminal that a FILE writes to, and what would be seen on its screen. Obeys what CanvasView
/// uses (newline, carriage return, cursor up, erase) and fails at anything else.
class Terminal {
 public:
  Terminal(int columns, int rows) : columns_(columns), screen_(std::size_t(rows)) {
    winsize size{};
    size.ws_col = static_cast<unsigned short>(columns);
    size.ws_row = static_cast<unsigned short>(rows);
    int writer = -1;
    CHECK(openpty(&reader_, &writer, nullptr, nullptr, &size) == 0, "cannot open a pty");
    file_ = fdopen(writer, "w");
    fcntl(reader_, F_SETFL, O_NONBLOCK);
  }
  ~Terminal() {
    std::fclose(file_);
    close(reader_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  std::FILE* file() const { return file_; }
  /// The screen's lines without spaces at their ends and without empty lines at the screen's.
  std::vector<std::string> lines() {
    receive();
    std::vector<std::string> result;
    for (const auto& row : screen_) {
      std::string line;
      for (const std::string& cell : row) line += cell.empty() ? "" : cell;
      line.erase(line.find_last_not_of(' ') + 1);
      result.push_back(line);
    }
    while (!result.empty() && result.back().empty()) result.pop_back();
    return result;
  }
  /// Lines that have left the screen at its top.
  int scrolled() {
    receive();
    return scrolled_;
  }
  /// All bytes so far.
  const std::string& received() {
    receive();
    return received_;
  }

 private:
  void receive() {
    pollfd ready{reader_, POLLIN, 0};
    char buffer[4096];
    while (poll(&ready, 1, 20) > 0) {
      const ssize_t n = read(reader_, buffer, sizeof buffer);
      if (n <= 0) break;
      received_.append(buffer, std::size_t(n));
    }
    while (at_ < received_.size()) obey();
  }
  void obey() {
    const char c = received_[at_];
    if (c == '\r') {
      column_ = 0;
      ++at_;
    } else if (c == '\n') {
      if (++row_ == int(screen_.size())) scroll();
      ++at_;
    } else if (c == '\x1b') {
      escape();
    } else {
      CHECK(std::uint8_t(c) >= 0x20, "control code ", int(c));
      put();
    }
  }
  void scroll() {
    screen_.erase(screen_.begin());
    screen_.emplace_back();
    --row_;
    ++scrolled_;
  }
  void escape() {
    CHECK(received_[at_ + 1] == '[', "an escape that is no CSI");
    const std::size_t end = received_.find_first_not_of("0123456789;", at_ + 2);
    const std::string argument = received_.substr(at_ + 2, end - at_ - 2);
    const char command = received_[end];
    at_ = end + 1;
    if (command == 'm') return;
    if (command == 'A') {
      row_ -= std::stoi(argument);
      CHECK(row_ >= 0, "the cursor was moved above the screen");
    } else if (command == 'K') {
      CHECK(argument.empty(), "K with ", argument);
      screen_[std::size_t(row_)].resize(std::size_t(column_));
    } else {
      CHECK(command == 'J' && argument.empty(), "CSI ", argument, command);
      screen_[std::size_t(row_)].resize(std::size_t(column_));
      for (std::size_t i = std::size_t(row_) + 1; i < screen_.size(); ++i) screen_[i].clear();
    }
  }
  void put() {
    std::size_t end = at_ + 1;
    while (end < received_.size() && (received_[end] & 0xC0) == 0x80) ++end;
    const std::string character = received_.substr(at_, end - at_);
    at_ = end;
    // CJK ideographs, all of which begin so, are wide.
    const int width = character >= "\xe4\xb8\x80" && character <= "\xe9\xbf\xbf" ? 2 : 1;
    CHECK(column_ + width <= columns_, "a line is longer than the terminal is wide");
    auto& row = screen_[std::size_t(row_)];
    if (row.size() < std::size_t(column_ + width)) row.resize(std::size_t(column_ + width), " ");
    row[std::size_t(column_)] = character;
    if (width == 2) row[std::size_t(column_ + 1)] = "";
    column_ += width;
  }

  int columns_, reader_ = -1;
  std::FILE* file_ = nullptr;
  std::vector<std::vector<std::string>> screen_;  // a wide character's second cell is empty
  int row_ = 0, column_ = 0, scrolled_ = 0;
  std::string received_;
  std::size_t at_ = 0;
};

}  // namespace lacuna::testing
