#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lacuna {

enum class PieceStyle : std::uint8_t {
  prompt,
  text,
  fresh,    // filled by the last step
  masked,   // drawn as a block
  special,  // drawn as a dot
  end,      // the end token
};

/// A token of a canvas. Its bytes may be part of a UTF-8 character that its neighbours complete;
/// masked, special and end pieces need none.
struct CanvasPiece {
  std::string bytes;
  PieceStyle style;
};

struct CanvasLine {
  std::string text;
  std::int64_t columns = 0;  // it takes on a terminal
  bool fresh = false;        // holds something the last step filled
  bool masked = false;
};

/// The lines that show a canvas on a terminal `width` (at least 2) columns wide: broken at newlines
/// and where a character would not fit. Wide characters take two columns, combining ones none.
/// Whatever is not a printable character (half a character, a control code) is drawn as a
/// substitute, so that no text can move the cursor or change the terminal. With `colours`, styles
/// become SGR escape codes, reset at each line's end; without, there are no escape codes at all.
std::vector<CanvasLine> layout_canvas(std::span<const CanvasPiece> pieces, std::int64_t width,
                                      bool colours);

}  // namespace lacuna
