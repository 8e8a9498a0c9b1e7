#include "app/canvas_view.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::int64_t kPlainColumns = 100;
constexpr std::int64_t kSnapshots = 4;

struct TerminalSize {
  std::int64_t columns = 80, rows = 24;
};

TerminalSize size_of_terminal(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

bool can_redraw(std::FILE* out) {
  const char* term = std::getenv("TERM");
  return isatty(fileno(out)) && term && std::string_view(term) != "dumb" && *term;
}

}  // namespace

CanvasView::CanvasView(std::FILE* out, const Tokenizer& tokenizer, const ModelConfig& config)
    : out_(out), tokenizer_(tokenizer), config_(config), terminal_(can_redraw(out)) {
  const char* no_color = std::getenv("NO_COLOR");
  colours_ = terminal_ && !(no_color && *no_color);
}

void CanvasView::begin(std::string title, std::int64_t prompt_length, const DecodingStep& state) {
  title_ = std::move(title);
  prompt_length_ = prompt_length;
  top_ = 0;
  drawn_.clear();
  take(state);
  if (terminal_) redraw();
}

void CanvasView::take(const DecodingStep& step) {
  done_ = step.done;
  steps_ = std::max<std::int64_t>(step.of, 1);
  last_ = pieces(step.tokens, step.committed);
}

std::vector<CanvasPiece> CanvasView::pieces(std::span<const std::int32_t> tokens,
                                            std::span<const std::int32_t> committed) const {
  std::vector<CanvasPiece> result;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::int32_t id = tokens[i];
    if (id == config_.mask_token) {
      result.push_back({"", PieceStyle::masked});
    } else if (id == config_.eos_token) {
      result.push_back({"", PieceStyle::end});
    } else if (!tokenizer_.has(id) || tokenizer_.is_special(id)) {
      result.push_back({"", PieceStyle::special});
    } else {
      const bool fresh = std::binary_search(committed.begin(), committed.end(), std::int32_t(i));
      const bool given = std::int64_t(i) < prompt_length_;
      result.push_back({tokenizer_.decode({&id, 1}, false), fresh   ? PieceStyle::fresh
                                                            : given ? PieceStyle::prompt
                                                                    : PieceStyle::text});
    }
  }
  return result;
}

std::string CanvasView::status() const {
  std::string line = title_.empty() ? "" : title_ + ", ";
  line += str("step ", done_, " of ", steps_);
  const auto masked = std::count_if(last_.begin(), last_.end(), [](const CanvasPiece& p) {
    return p.style == PieceStyle::masked;
  });
  if (masked > 0) line += str(", ", masked, " masked");
  return line;
}

void CanvasView::show(const DecodingStep& step) {
  take(step);
  if (terminal_) {
    redraw();
  } else if (done_ * kSnapshots / steps_ != (done_ - 1) * kSnapshots / steps_) {
    std::string text = status() + ":\n";
    for (const CanvasLine& line : layout_canvas(last_, kPlainColumns, false))
      text += line.text + "\n";
    std::fputs((text + "\n").c_str(), out_);
    std::fflush(out_);
  }
}

// The last column stays free: a full line would make some terminals wrap early.
void CanvasView::redraw() {
  draw(layout_canvas(last_, size_of_terminal(out_).columns - 1, colours_), status());
}

/// Back to where the drawing began. If the terminal has become narrower since, its lines now take
/// several rows.
std::string CanvasView::move_to_top(std::int64_t columns) const {
  std::int64_t rows = 0;
  for (const std::int64_t line : drawn_)
    rows += std::max<std::int64_t>(1, (line + columns - 1) / columns);
  return rows > 0 ? str("\r\x1b[", rows, "A") : "\r";
}

// A frame is written at once, each line over the old one, so that nothing flickers.
void CanvasView::draw(const std::vector<CanvasLine>& lines, const std::string& status) {
  const TerminalSize size = size_of_terminal(out_);
  const auto count = std::int64_t(lines.size());
  const std::int64_t visible = std::clamp<std::int64_t>(size.rows - 2, 1, count);
  const auto begin = lines.begin();
  auto focus = std::find_if(begin, lines.end(), [](const CanvasLine& l) { return l.fresh; });
  if (focus == lines.end())
    focus = std::find_if(begin, lines.end(), [](const CanvasLine& l) { return l.masked; });
  const std::int64_t at = focus == lines.end() ? count - 1 : focus - begin;
  if (at < top_ || at >= top_ + visible) top_ = at - visible / 2;
  top_ = std::clamp<std::int64_t>(top_, 0, count - visible);

  std::string frame = move_to_top(size.columns);
  drawn_.clear();
  for (std::int64_t i = top_; i < top_ + visible; ++i) {
    frame += lines[std::size_t(i)].text + "\x1b[K\n";
    drawn_.push_back(lines[std::size_t(i)].columns);
  }
  std::string last = status;
  if (visible < count) last += str(", lines ", top_ + 1, "-", top_ + visible, " of ", count);
  last.resize(std::min(last.size(), std::size_t(std::max<std::int64_t>(size.columns - 1, 1))));
  drawn_.push_back(std::int64_t(last.size()));
  frame += (colours_ ? "\x1b[2m" + last + "\x1b[0m" : last) + "\x1b[K\n\x1b[J";
  std::fputs(frame.c_str(), out_);
  std::fflush(out_);
}

void CanvasView::end(bool keep) {
  if (!terminal_ || drawn_.empty()) return;
  if (!keep) {
    std::fputs((move_to_top(size_of_terminal(out_).columns) + "\x1b[J").c_str(), out_);
  } else {
    for (CanvasPiece& piece : last_)
      if (piece.style == PieceStyle::fresh) piece.style = PieceStyle::text;
    redraw();
  }
  std::fflush(out_);
  drawn_.clear();
}

}  // namespace lacuna
