#include "app/canvas_layout.h"

#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <string_view>

#include "core/text.h"

namespace lacuna {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr std::int64_t kTabColumns = 4;

/// A character as it is drawn.
struct Cell {
  std::string text;
  std::int64_t columns = 1;
  PieceStyle style = PieceStyle::text;
  bool breaks = false;  // the line ends after it
};

std::string utf8(char32_t c) {
  std::string out;
  if (c < 0x80) return {char(c)};
  if (c < 0x800) {
    out += char(0xC0 | c >> 6);
  } else if (c < 0x10000) {
    out += char(0xE0 | c >> 12);
    out += char(0x80 | (c >> 6 & 0x3F));
  } else {
    out += char(0xF0 | c >> 18);
    out += char(0x80 | (c >> 12 & 0x3F));
    out += char(0x80 | (c >> 6 & 0x3F));
  }
  out += char(0x80 | (c & 0x3F));
  return out;
}

struct Decoded {
  char32_t character;
  std::size_t bytes;
};

/// The first character of `s` (not empty); the replacement character for the longest beginning of
/// one that is not completed, or for a byte that begins none (Unicode 15, section 3.9, U+FFFD
/// substitution of maximal subparts).
Decoded decode(std::string_view s) {
  const auto byte = [&](std::size_t i) { return std::uint8_t(s[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  std::size_t length = 0;
  std::uint8_t low = 0x80, high = 0xBF;  // what the second byte may be
  if (lead >= 0xC2 && lead <= 0xDF) length = 2;
  if (lead >= 0xE0 && lead <= 0xEF) length = 3;
  if (lead >= 0xF0 && lead <= 0xF4) length = 4;
  if (length == 0) return {kReplacement, 1};
  if (lead == 0xE0) low = 0xA0;   // no longer than needed
  if (lead == 0xED) high = 0x9F;  // no surrogates
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  char32_t c = lead & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= s.size() || byte(i) < low || byte(i) > high) return {kReplacement, i};
    c = c << 6 | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {c, length};
}

/// Columns of a character, -1 if it is not printable; whatever the user's locale is.
class Widths {
 public:
  Widths() : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {}
  ~Widths() {
    if (locale_) freelocale(locale_);
  }
  Widths(const Widths&) = delete;
  Widths& operator=(const Widths&) = delete;
  std::int64_t operator()(char32_t c) const {
    if (!locale_) return c < 0x80 ? 1 : -1;
    const locale_t before = uselocale(locale_);
    const int columns = wcwidth(wchar_t(c));
    uselocale(before);
    return columns;
  }

 private:
  locale_t locale_;
};

Cell cell_of(char32_t c, PieceStyle style, const Widths& widths) {
  if (c == '\n')
    return {style == PieceStyle::fresh ? "↵" : "", style == PieceStyle::fresh, style, true};
  if (c == '\t') return {std::string(kTabColumns, ' '), kTabColumns, style};
  if (c < 0x20) return {utf8(0x2400 + c), 1, style};  // the picture of a control code
  if (c == 0x7F) return {utf8(0x2421), 1, style};
  const std::int64_t columns = is_bidirectional_control(c) ? -1 : widths(c);
  if (columns < 0) return {utf8(kReplacement), 1, style};
  return {utf8(c), columns, style};
}

bool is_text(const CanvasPiece& piece) {
  return piece.style == PieceStyle::prompt || piece.style == PieceStyle::text ||
         piece.style == PieceStyle::fresh;
}

/// The characters of neighbouring tokens, which may share some.
void append_text(std::vector<Cell>& cells, std::span<const CanvasPiece> run, const Widths& widths) {
  std::string bytes;
  std::vector<PieceStyle> styles;  // of each byte
  for (const CanvasPiece& piece : run) {
    bytes += piece.bytes;
    styles.resize(bytes.size(), piece.style);
  }
  for (std::size_t at = 0; at < bytes.size();) {
    const Decoded d = decode(std::string_view(bytes).substr(at));
    const auto first = styles.begin() + std::ptrdiff_t(at);
    const auto end = first + std::ptrdiff_t(d.bytes);
    const bool fresh = std::find(first, end, PieceStyle::fresh) != end;
    Cell cell = cell_of(d.character, fresh ? PieceStyle::fresh : *first, widths);
    // A combining character with nothing of its own to combine with gets a dotted circle.
    if (cell.columns == 0 && !cell.breaks && (at == 0 || cells.back().breaks)) {
      cell.text.insert(0, "◌");
      cell.columns = 1;
    }
    cells.push_back(std::move(cell));
    at += d.bytes;
  }
}

std::vector<Cell> cells_of(std::span<const CanvasPiece> pieces) {
  const Widths widths;
  std::vector<Cell> cells;
  for (std::size_t i = 0; i < pieces.size();) {
    std::size_t end = i;
    while (end < pieces.size() && is_text(pieces[end])) ++end;
    if (end > i) {
      append_text(cells, pieces.subspan(i, end - i), widths);
      i = end;
      continue;
    }
    const PieceStyle style = pieces[i++].style;
    cells.push_back({style == PieceStyle::masked ? "░"
                     : style == PieceStyle::end  ? "∎"
                                                 : "·",
                     1, style});
  }
  return cells;
}

const char* escape_of(PieceStyle style) {
  switch (style) {
    case PieceStyle::prompt:
      return "\x1b[36m";  // cyan
    case PieceStyle::fresh:
      return "\x1b[30;42m";  // black on green
    case PieceStyle::masked:
    case PieceStyle::special:
    case PieceStyle::end:
      return "\x1b[2m";  // dim
    case PieceStyle::text:
      break;
  }
  return "";
}

/// Writes cells into lines.
class Writer {
 public:
  Writer(std::int64_t width, bool colours) : width_(width), colours_(colours) {}

  void add(const Cell& cell) {
    if (line_.columns + cell.columns > width_) finish_line();
    if (!cell.text.empty()) {
      // A combining character keeps the style of what it combines with.
      if (cell.columns > 0) set_style(cell.style);
      line_.text += cell.text;
      line_.columns += cell.columns;
    }
    line_.fresh |= cell.style == PieceStyle::fresh;
    line_.masked |= cell.style == PieceStyle::masked;
    if (cell.breaks) finish_line();
  }
  std::vector<CanvasLine> finish() {
    if (line_.columns > 0 || lines_.empty()) finish_line();
    return std::move(lines_);
  }

 private:
  void set_style(PieceStyle style) {
    if (!colours_ || style == style_) return;
    if (style_ != PieceStyle::text) line_.text += "\x1b[0m";
    line_.text += escape_of(style);
    style_ = style;
  }
  void finish_line() {
    set_style(PieceStyle::text);
    lines_.push_back(std::move(line_));
    line_ = {};
  }

  std::int64_t width_;
  bool colours_;
  PieceStyle style_ = PieceStyle::text;
  CanvasLine line_;
  std::vector<CanvasLine> lines_;
};

}  // namespace

std::vector<CanvasLine> layout_canvas(std::span<const CanvasPiece> pieces, std::int64_t width,
                                      bool colours) {
  Writer writer(std::max<std::int64_t>(width, 2), colours);
  for (const Cell& cell : cells_of(pieces)) writer.add(cell);
  return writer.finish();
}

}  // namespace lacuna
