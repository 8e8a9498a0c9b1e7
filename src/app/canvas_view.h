#pragma once
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "app/canvas_layout.h"
#include "config/config.h"
#include "decoding/decoder.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// Shows canvases while they are filled. On a terminal: redrawn in place, what the last step filled
/// highlighted (without colours if NO_COLOR is set), scrolled along if it is taller than the
/// terminal. Elsewhere, and if TERM is dumb: the canvas at each quarter of the way, as plain lines.
class CanvasView {
 public:
  /// Draws on `out`. Borrows `tokenizer`.
  CanvasView(std::FILE* out, const Tokenizer& tokenizer, const ModelConfig& config);

  /// A new canvas, of which the first `prompt_length` tokens are given, as it stands. `title`
  /// ("sample 1 of 3", or "") is shown with it.
  void begin(std::string title, std::int64_t prompt_length, const DecodingStep& state);
  /// The canvas after a step.
  void show(const DecodingStep& step);
  /// Takes the drawing off the terminal again, or, with `keep`, the highlights only.
  void end(bool keep);
  /// Whether it is redrawn in place.
  bool redraws() const { return terminal_; }

 private:
  void take(const DecodingStep& step);
  std::vector<CanvasPiece> pieces(std::span<const std::int32_t> tokens,
                                  std::span<const std::int32_t> committed) const;
  std::string status() const;
  void redraw();
  void draw(const std::vector<CanvasLine>& lines, const std::string& status);
  std::string move_to_top(std::int64_t columns) const;

  std::FILE* out_;
  const Tokenizer& tokenizer_;
  ModelConfig config_;
  bool terminal_, colours_;
  std::string title_;
  std::int64_t prompt_length_ = 0;
  std::int64_t done_ = 0, steps_ = 1;  // as the last step said
  std::int64_t top_ = 0;               // the first line that is visible
  std::vector<std::int64_t> drawn_;    // columns of each line on the terminal
  std::vector<CanvasPiece> last_;
};

}  // namespace lacuna
